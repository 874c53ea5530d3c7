//! Giving a finished volume to where snapshots are kept, and telling how far that is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use imagecache_blocks::{
    BLOCK_BYTES, Durability, FinishedVolume, Published, SnapshotManifest, UploadProgress, UploadWatch,
};
use imagecache_core::{EventSeverity, Progress};

use super::ahead::Previous;
use crate::failure::Stop;
use crate::shelf::Shelf;
use crate::tracker::Tracker;

/// Percent of a build with an upload that is done when all layers are there.
pub(super) const LAYERS_PERCENT: u8 = 45;
/// Percent when only the end of the upload is missing.
const SENT_PERCENT: u8 = 99;
/// How often progress is written down, and told in the log.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the volume where snapshots are kept; `None` when that is the directory. Blocks.
pub(super) fn publish(
    tracker: &Tracker,
    shelf: &Shelf,
    manifest: &SnapshotManifest,
    previous: &Previous,
) -> Result<Option<Published>, Stop> {
    let record = tracker.record();
    let volume = FinishedVolume {
        store: &tracker.store,
        manifest,
        cache: &record.state.id,
        key: &record.state.key,
        previous: super::ahead::published(previous),
    };
    let watch = Watch {
        tracker,
        told: Mutex::new(Told {
            progress: UploadProgress::default(),
            begin: Instant::now(),
            first_done: None,
            written: Instant::now(),
            logged: Instant::now(),
        }),
    };
    let published = shelf.snapshots.publish(&volume, &watch)?;
    if let Some(published) = &published {
        let message = watch.summary(published);
        tracker.event(EventSeverity::Normal, "SnapshotPublished", message);
    }
    Ok(published)
}

struct Watch<'a> {
    tracker: &'a Tracker,
    told: Mutex<Told>,
}

struct Told {
    progress: UploadProgress,
    begin: Instant,
    /// Blocks that were there when this upload began.
    first_done: Option<u64>,
    written: Instant,
    logged: Instant,
}

impl Watch<'_> {
    /// What was sent, as an event says it.
    fn summary(&self, published: &Published) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = told.progress.done.saturating_sub(told.first_done.unwrap_or(0));
        let seconds = told.begin.elapsed().as_secs();
        let parent = published.parent.as_deref().map(|parent| format!(" on top of {parent}"));
        format!(
            "Published as {}{}: {sent} blocks, {} MiB, sent in {seconds} s",
            published.id,
            parent.unwrap_or_default(),
            mib(sent),
        )
    }
}

impl UploadWatch for Watch<'_> {
    fn is_cancelled(&self) -> bool {
        self.tracker.is_cancelled()
    }

    fn progress(&self, progress: UploadProgress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.first_done.get_or_insert(progress.done);
        told.progress = progress;
        let share = Progress::of(progress.done, progress.total.max(1)).percent();
        let percent = LAYERS_PERCENT + scaled(share, SENT_PERCENT - LAYERS_PERCENT);
        self.tracker.edit(|record| {
            record.state.progress = record.state.progress.max(Progress::from_percent(percent));
            record.state.activity = Some(activity(&progress));
        });
        if told.logged.elapsed() >= LOG_INTERVAL {
            told.logged = Instant::now();
            tracing::info!(
                id = %self.tracker.record().state.id,
                blocks = progress.done,
                of = progress.total,
                blocks_per_second = progress.per_second,
                seconds_left = progress.left.map(|left| left.as_secs()),
                "sending a snapshot"
            );
        }
        if told.written.elapsed() >= WRITE_INTERVAL {
            told.written = Instant::now();
            // The upload itself meets the same trouble where it matters; a cache that is gone cancels it.
            if let Err(stop) = self.tracker.persist(Durability::Relaxed) {
                tracing::debug!(?stop, "cannot write down progress");
            }
        }
    }
}

/// Where an upload is, for people.
fn activity(progress: &UploadProgress) -> String {
    if progress.done >= progress.total {
        return "waiting until the snapshot is completed".to_owned();
    }
    let mut text = format!("sending {} of {} MiB", mib(progress.done), mib(progress.total));
    if let Some(left) = progress.left {
        let rate = mib(progress.per_second);
        text += &format!(", {rate} MiB/s, {} s left", left.as_secs().max(1));
    }
    text
}

/// What was sent while layers are still being fetched, for people. How much is to come is not known yet, so nor is the time.
pub(super) fn activity_ahead(progress: &UploadProgress) -> Option<String> {
    let (sent, rate) = (mib(progress.done), mib(progress.per_second));
    (sent > 0).then(|| format!("sent {sent} MiB of finished layers, {rate} MiB/s"))
}

fn mib(blocks: u64) -> u64 {
    (blocks * BLOCK_BYTES) >> 20
}

/// `percent` of `most`.
fn scaled(percent: u8, most: u8) -> u8 {
    u8::try_from(u32::from(percent) * u32::from(most) / 100).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_tells_how_fast_it_is_and_how_long_it_takes() {
        for (done, per_second, left, expected) in [
            (0, 0, None, "sending 0 of 1024 MiB"),
            (1024, 500, Some(2), "sending 512 of 1024 MiB, 250 MiB/s, 2 s left"),
            (2047, 500, Some(0), "sending 1023 of 1024 MiB, 250 MiB/s, 1 s left"),
            (2048, 500, Some(0), "waiting until the snapshot is completed"),
        ] {
            let progress = UploadProgress {
                done,
                total: 2048,
                per_second,
                left: left.map(Duration::from_secs),
            };
            assert_eq!(activity(&progress), expected);
        }
    }
}
