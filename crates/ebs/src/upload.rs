//! Sending the blocks of one snapshot: many at a time, each hashed once, each written to the journal when it is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imagecache_blocks::{BLOCK_BYTES, BlockDigest, Error, Result, UploadProgress, UploadWatch, VolumeReader};
use imagecache_core::ErrorKind;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::calls::{Calls, PUT, Target};
use crate::journal::Journal;
use crate::trouble::Trouble;

/// How often progress is told and the watch is asked whether to go on.
const TICK: Duration = Duration::from_millis(200);
/// Weight of the last tick in the rate that is told.
const SMOOTHING: f64 = 0.1;

/// Why an upload ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The snapshot is not there any more: EBS gave it up, or somebody deleted it.
    Gone,
    /// Anything else.
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What all tasks of an upload share.
struct Shared {
    calls: Arc<Calls>,
    target: Target,
    reader: VolumeReader,
    /// Blocks are read and hashed on as many threads as there are processors; more would only hold more memory.
    hashing: Semaphore,
}

/// Sends every block of `wanted` that the journal does not have.
pub(crate) async fn send_blocks(
    calls: &Arc<Calls>,
    target: Target,
    reader: VolumeReader,
    wanted: &BTreeMap<u64, BlockDigest>,
    journal: &mut Journal,
    watch: &dyn UploadWatch,
) -> Result<(), Stopped> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shared = Arc::new(Shared {
        calls: Arc::clone(calls),
        target,
        reader,
        hashing: Semaphore::new(processors + 1),
    });
    let acknowledged = journal.progress.acknowledged.clone();
    let mut waiting = wanted
        .iter()
        .filter(|(index, _)| !acknowledged.contains(index))
        .map(|(index, digest)| (*index, *digest));
    let total = wanted.len() as u64;
    let mut meter = Meter::new(
        wanted.keys().filter(|index| acknowledged.contains(index)).count() as u64,
        total,
    );
    let mut running: JoinSet<Result<u64, Stopped>> = JoinSet::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while running.len() < calls.config.in_flight.max(1)
            && let Some((index, digest)) = waiting.next()
        {
            let shared = Arc::clone(&shared);
            running.spawn(async move { shared.send(index, digest).await.map(|()| index) });
        }
        tokio::select! {
            // Dropping the set ends what is under way; a block that arrives nevertheless is sent again later.
            ended = running.join_next() => match ended {
                None => {
                    watch.progress(meter.read());
                    return Ok(());
                }
                Some(Ok(sent)) => {
                    journal.acknowledged(sent?)?;
                    meter.done += 1;
                }
                Some(Err(died)) => return Err(task_died(&died).into()),
            },
            _ = tick.tick() => {
                if watch.is_cancelled() {
                    return Err(Error::Cancelled(format!("snapshot {}", shared.target.id)).into());
                }
                watch.progress(meter.read());
            }
        }
    }
}

impl Shared {
    async fn send(self: &Arc<Self>, index: u64, digest: BlockDigest) -> Result<(), Stopped> {
        let bytes = {
            let _permit = self.hashing.acquire().await;
            let shared = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || shared.read(index, digest));
            read.await.map_err(|died| task_died(&died))??
        };
        self.calls
            .put(&self.target, index, &digest, &bytes)
            .await
            .map_err(|trouble| self.stopped(trouble, index))
    }

    /// Reads a block and makes sure that it is the one that the manifest lists: nothing else may be sent under its digest.
    fn read(&self, index: u64, digest: BlockDigest) -> Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or_default()];
        self.reader.read(index, &mut buffer)?;
        if BlockDigest::of(&buffer) == digest {
            return Ok(Bytes::from(buffer));
        }
        let (name, place) = self.reader.place(index).unwrap_or(("the volume", index));
        Err(Error::damaged(
            name,
            format!("its block {place} is not the one that was stored"),
        ))
    }

    fn stopped(&self, trouble: Trouble, index: u64) -> Stopped {
        if trouble.is_gone() {
            return Stopped::Gone;
        }
        Stopped::Error(trouble.into_error(PUT, &format!("block {index} of snapshot {}", self.target.id)))
    }
}

/// Why a task did not return: it panicked, or the runtime ends.
pub(crate) fn task_died(died: &tokio::task::JoinError) -> Error {
    Error::Service {
        kind: ErrorKind::Internal,
        message: format!("a task died: {died}"),
    }
}

/// Counts blocks and follows their rate.
struct Meter {
    done: u64,
    total: u64,
    rate: f64,
    last: (Instant, u64),
}

impl Meter {
    fn new(done: u64, total: u64) -> Self {
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
