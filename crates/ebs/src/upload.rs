//! Sending blocks of one snapshot: many at a time, each hashed once, each written to the journal when it is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use imagecache_blocks::{BLOCK_BYTES, BlockDigest, Error, Result, UploadProgress, UploadWatch, VolumeReader};
use imagecache_core::ErrorKind;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::calls::{Calls, PUT, Target};
use crate::journal::Journal;
use crate::trouble::Trouble;

/// How often progress is told and the watch is asked whether to go on.
const TICK: Duration = Duration::from_millis(200);
/// How often the disk is waited for, so that a power cut costs little.
const SYNC: Duration = Duration::from_secs(1);
/// How long calls that are under way are waited for once an upload ends early. What they acknowledge is not sent again.
const DRAIN: Duration = Duration::from_secs(10);
/// Weight of the last tick in the rate that is told.
const SMOOTHING: f64 = 0.1;

/// Why an upload ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The snapshot is of no use any more, and another one may be: EBS gave it up, or somebody deleted it.
    Gone(String),
    /// A block was found wrong, or the snapshot is no longer one that takes blocks.
    Refused(Error),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A block that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) index: u64,
    pub(crate) digest: BlockDigest,
    pub(crate) reader: Arc<VolumeReader>,
}

/// What a queue of blocks has.
pub(crate) enum Next {
    Block(Block),
    /// Nothing now.
    Later,
    End,
}

/// What all tasks of an upload share.
struct Shared {
    calls: Arc<Calls>,
    target: Target,
    journal: Journal,
    /// Blocks are read and hashed on as many threads as there are processors; more would only hold more memory.
    hashing: Semaphore,
}

/// Sends every block of a queue. Whatever ends it early, answers to calls under way are still written down.
pub(crate) async fn send_blocks(
    calls: &Arc<Calls>,
    target: Target,
    journal: &Journal,
    queue: &mut (dyn FnMut() -> Result<Next> + Send),
    meter: &mut Meter,
    watch: &dyn UploadWatch,
) -> Result<(), Stopped> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shared = Arc::new(Shared {
        calls: Arc::clone(calls),
        target,
        journal: journal.clone(),
        hashing: Semaphore::new(processors + 1),
    });
    let mut running: JoinSet<Result<(), Stopped>> = JoinSet::new();
    let mut syncing: JoinSet<Result<()>> = JoinSet::new();
    let mut outcome: Result<(), Stopped> = Ok(());
    let mut ended_at: Option<Instant> = None;
    let mut synced = Instant::now();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut is_end = outcome.is_err();
        while !is_end && running.len() < calls.config.in_flight.max(1) {
            match queue() {
                Ok(Next::Block(block)) => {
                    let shared = Arc::clone(&shared);
                    running.spawn(async move { shared.send(block).await });
                }
                Ok(Next::Later) => break,
                Ok(Next::End) => is_end = true,
                Err(error) => {
                    outcome = Err(error.into());
                    is_end = true;
                }
            }
        }
        if is_end && running.is_empty() {
            break;
        }
        let mut done = Ok(());
        tokio::select! {
            Some(ended) = running.join_next(), if !running.is_empty() => done = finished(ended, meter),
            Some(ended) = syncing.join_next(), if !syncing.is_empty() => {
                done = ended.unwrap_or_else(|died| Err(task_died(&died))).map_err(Stopped::from);
            }
            _ = tick.tick() => {
                if watch.is_cancelled() {
                    done = Err(Error::Cancelled(format!("snapshot {}", shared.target.id)).into());
                }
                watch.progress(meter.read());
                if synced.elapsed() >= SYNC && syncing.is_empty() {
                    synced = Instant::now();
                    let journal = journal.clone();
                    syncing.spawn_blocking(move || journal.sync());
                }
                if ended_at.is_some_and(|at| at.elapsed() > DRAIN) {
                    running.abort_all();
                }
            }
        }
        if done.is_err() && outcome.is_ok() {
            outcome = done;
            shared.target.stop.store(true, Ordering::Relaxed);
            ended_at = Some(Instant::now());
        }
    }
    watch.progress(meter.read());
    outcome
}

fn finished(ended: Result<Result<(), Stopped>, JoinError>, meter: &mut Meter) -> Result<(), Stopped> {
    match ended {
        Ok(Ok(())) => {
            meter.done += 1;
            Ok(())
        }
        Ok(Err(stopped)) => Err(stopped),
        Err(died) if died.is_cancelled() => Ok(()),
        Err(died) => Err(task_died(&died).into()),
    }
}

impl Shared {
    async fn send(self: &Arc<Self>, block: Block) -> Result<(), Stopped> {
        let (index, digest) = (block.index, block.digest);
        let _room = self.calls.room.acquire().await;
        let bytes = {
            let _permit = self.hashing.acquire().await;
            let read = tokio::task::spawn_blocking(move || block.read());
            read.await.map_err(|died| task_died(&died))??
        };
        let sent = self.calls.put(&self.target, index, &digest, &bytes).await;
        // Nothing is waited for between the answer and this.
        match sent {
            Ok(()) => Ok(self.journal.acknowledged(index, digest)?),
            Err(trouble) => Err(self.stopped(trouble, index)),
        }
    }

    fn stopped(&self, trouble: Trouble, index: u64) -> Stopped {
        if trouble.is_gone() {
            return Stopped::Gone(format!("snapshot {} is not there any more", self.target.id));
        }
        let is_validation = trouble.is_validation();
        let error = trouble.into_error(PUT, &format!("block {index} of snapshot {}", self.target.id));
        if is_validation {
            Stopped::Refused(error)
        } else {
            Stopped::Error(error)
        }
    }
}

impl Block {
    /// Reads a block and makes sure that it is the one that is listed: nothing else may be sent under its digest.
    fn read(&self) -> Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or_default()];
        self.reader.read(self.index, &mut buffer)?;
        if BlockDigest::of(&buffer) == self.digest {
            return Ok(Bytes::from(buffer));
        }
        let (name, place) = self.reader.place(self.index).unwrap_or(("the volume", self.index));
        Err(Error::damaged(
            name,
            format!("its block {place} is not the one that was stored"),
        ))
    }
}

/// Why a task did not return: it panicked, or the runtime ends.
pub(crate) fn task_died(died: &JoinError) -> Error {
    Error::Service {
        kind: ErrorKind::Internal,
        message: format!("a task died: {died}"),
    }
}

/// Counts blocks and follows their rate.
pub(crate) struct Meter {
    done: u64,
    total: u64,
    rate: f64,
    last: (Instant, u64),
}

impl Meter {
    /// `done` of `total` are there.
    pub(crate) fn new(done: u64, total: u64) -> Self {
        Self {
            done,
            total,
            rate: 0.0,
            last: (Instant::now(), done),
        }
    }

    fn read(&mut self) -> UploadProgress {
        let (at, before) = self.last;
        let seconds = at.elapsed().as_secs_f64();
        if seconds >= TICK.as_secs_f64() / 2.0 {
            let now = (self.done - before) as f64 / seconds;
            self.rate = if self.rate == 0.0 {
                now
            } else {
                self.rate + SMOOTHING * (now - self.rate)
            };
            self.last = (Instant::now(), self.done);
        }
        let left = self.total.saturating_sub(self.done);
        UploadProgress {
            done: self.done,
            total: self.total,
            per_second: self.rate as u64,
            left: (self.rate >= 1.0).then(|| Duration::from_secs_f64(left as f64 / self.rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_meter_tells_rate_and_time_left() {
        let mut meter = Meter::new(100, 1100);
        assert_eq!(
            meter.read(),
            UploadProgress {
                done: 100,
                total: 1100,
                per_second: 0,
                left: None
            }
        );
        for _ in 0..50 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.done += 10;
            meter.read();
        }
        let expected = UploadProgress {
            done: 600,
            total: 1100,
            per_second: 10,
            left: Some(Duration::from_secs(50)),
        };
        assert_eq!(meter.read(), expected);
    }
}
