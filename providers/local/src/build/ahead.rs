//! Sending finished layers to where snapshots are kept while others are still being fetched.
//!
//! A layer can be sent once its place in the volume is known, and that depends only on the layers before it, in the order in
//! which they are fetched. What is sent is remembered by the store of snapshots alone; publishing the finished volume sends
//! the rest. Nothing here can make a volume wrong, and nothing that fails here fails a build.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imagecache_blocks::{
    BLOCK_BYTES, Blocks, CacheRecord, Feed, Head, ImageRecord, Part, PartFeed, PlacedPart, Placer, Result,
    SnapshotManifest, UnfinishedVolume, UploadProgress, UploadWatch, index_digest,
};
use imagecache_core::Digest;
use tokio::task::JoinHandle;

use super::resolve::{Resolved, Wanted};
use crate::shelf::Shelf;
use crate::tracker::Tracker;

/// Room for patches and metadata that outgrew the front.
const SLACK_BLOCKS: u64 = 32;

/// The volume of the lineage that a build goes on from.
pub(super) type Previous = Option<(CacheRecord, SnapshotManifest)>;

/// The layers of a build, as their upload sees them.
pub(super) struct Ahead {
    state: Mutex<State>,
    /// Blocks that the cache may have.
    limit: u64,
    stopped: AtomicBool,
    tracker: Arc<Tracker>,
}

struct State {
    placer: Placer,
    /// In the order in which they lie in the volume.
    layers: Vec<Slot>,
    /// How many of them, from the first on, have their place.
    placed: usize,
    queue: VecDeque<PlacedPart>,
    /// Whether there is something to wait for. A build that has all its layers does not need this.
    is_open: bool,
}

struct Slot {
    diff_id: Digest,
    /// A guess, for as long as `blocks` are not known.
    expected_bytes: u64,
    blocks: Option<Blocks>,
}

/// The room at the front of the volume of these images. Known before any layer is there.
pub(super) fn head(resolved: &Resolved) -> Head {
    let patches: usize = resolved.records.iter().map(|image| image.layers.len()).sum();
    let bytes = resolved.wanted.iter().map(Wanted::expected_bytes);
    let bytes = bytes.fold(0, u64::saturating_add);
    let blobs = resolved.blobs().values().map(|blob| blob.len() as u64).sum();
    Head::for_parts(resolved.wanted.len() + patches, bytes, blobs)
}

/// A running upload. Must be stopped before the cache's lock is given up.
pub(super) struct Running {
    ahead: Arc<Ahead>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// Begins to send what [`finished`](Ahead::finished) is told.
    pub(super) fn start(
        tracker: &Arc<Tracker>,
        shelf: &Arc<Shelf>,
        resolved: &Resolved,
        limit: u64,
        previous: &Arc<Previous>,
    ) -> Self {
        let ahead = Arc::new(Ahead::new(tracker, resolved, limit, previous));
        let (shelf, feed, previous) = (Arc::clone(shelf), Arc::clone(&ahead), Arc::clone(previous));
        let index = index_digest(&resolved.records);
        let task = tokio::task::spawn_blocking(move || {
            let record = feed.tracker.record();
            let volume = UnfinishedVolume {
                store: &feed.tracker.store,
                index: &index,
                cache: &record.state.id,
                key: &record.state.key,
                previous: published(&previous),
            };
            shelf.snapshots.send_ahead(&volume, feed.as_ref(), feed.as_ref())
        });
        Self { ahead, task }
    }

    /// Who is to be told of finished layers.
    pub(super) fn ahead(&self) -> Arc<Ahead> {
        Arc::clone(&self.ahead)
    }

    /// Ends the upload and returns when nothing of it runs any more.
    pub(super) async fn stop(self) {
        self.ahead.stopped.store(true, Ordering::Release);
        match self.task.await {
            Ok(Ok(()) | Err(imagecache_blocks::Error::Cancelled(_))) => {}
            // Publishing meets the same trouble, and says so.
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "layers cannot be sent ahead");
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a task died"),
        }
    }
}

/// The previous volume, where it is kept outside the directory.
pub(super) fn published(previous: &Previous) -> Option<(&SnapshotManifest, &imagecache_blocks::Published)> {
    let (record, manifest) = previous.as_ref()?;
    Some((manifest, record.published.as_ref()?))
}

impl Ahead {
    fn new(tracker: &Arc<Tracker>, resolved: &Resolved, limit: u64, previous: &Previous) -> Self {
        let layers: Vec<Slot> = resolved
            .in_order()
            .into_iter()
            .map(|wanted| Slot {
                expected_bytes: wanted.expected_bytes(),
                diff_id: wanted.diff_id,
                blocks: None,
            })
            .collect();
        let patches = |image: &ImageRecord| {
            let chains = image.layers.iter().map(|layer| layer.chain_id.clone());
            chains.map(Part::Patch).collect::<Vec<_>>()
        };
        let coming: Vec<(Part, Option<u64>)> = layers
            .iter()
            .map(|slot| Part::Layer(slot.diff_id.clone()))
            .chain(resolved.records.iter().flat_map(patches))
            .map(|part| (part, None))
            .collect();
        let head = head(resolved);
        let previous = previous.as_ref().map(|(_, manifest)| manifest);
        Self {
            state: Mutex::new(State {
                placer: Placer::new(previous, &coming, head.header_bytes, head.blocks),
                layers,
                placed: 0,
                queue: VecDeque::new(),
                is_open: false,
            }),
            limit: limit / BLOCK_BYTES,
            stopped: AtomicBool::new(false),
            tracker: Arc::clone(tracker),
        }
    }

    /// Notes that a layer is being fetched, so that there is time to send others.
    pub(super) fn fetching(&self) {
        self.state().is_open = true;
    }

    /// Notes that a layer is in the store.
    pub(super) fn finished(&self, diff_id: &Digest, blocks: Blocks) {
        self.state().finished(diff_id, blocks);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn finished(&mut self, diff_id: &Digest, blocks: Blocks) {
        let Some(slot) = self.layers.iter_mut().find(|slot| slot.diff_id == *diff_id) else {
            return;
        };
        let part = Part::Layer(diff_id.clone());
        if let Some(first_block) = self.placer.kept_place(&part) {
            let digests = blocks.digests.clone();
            self.queue.push_back(PlacedPart {
                part,
                first_block,
                digests,
            });
        }
        slot.blocks = Some(blocks);
        while let Some(slot) = self.layers.get(self.placed) {
            let part = Part::Layer(slot.diff_id.clone());
            let is_kept = self.placer.kept_place(&part).is_some();
            let Some(blocks) = &slot.blocks else {
                if is_kept {
                    self.placed += 1;
                    continue;
                }
                return;
            };
            self.placed += 1;
            if !is_kept {
                let digests = blocks.digests.clone();
                let first_block = self.placer.place(&part, digests.len() as u64);
                self.queue.push_back(PlacedPart {
                    part,
                    first_block,
                    digests,
                });
            }
        }
    }
}

impl PartFeed for Ahead {
    fn next(&self) -> Feed {
        let mut state = self.state();
        match state.is_open {
            true => state.queue.pop_front().map_or(Feed::Later, Feed::Part),
            false => Feed::Later,
        }
    }

    fn expected_bytes(&self) -> u64 {
        let state = self.state();
        let known = state.placer.end() + SLACK_BLOCKS;
        let later = state.layers.iter().skip(state.placed);
        let later = later.filter(|slot| state.placer.kept_place(&Part::Layer(slot.diff_id.clone())).is_none());
        let guess = |slot: &Slot| match &slot.blocks {
            Some(blocks) => blocks.count(),
            None => slot.expected_bytes.div_ceil(BLOCK_BYTES),
        };
        let guessed: u64 = later.map(guess).sum();
        let most = self.limit.saturating_sub(known);
        (known + guessed.min(most)) * BLOCK_BYTES
    }
}

impl UploadWatch for Ahead {
    fn is_cancelled(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.tracker.is_cancelled()
    }

    fn progress(&self, progress: UploadProgress) {
        if let Some(activity) = super::publish::activity_ahead(&progress) {
            self.tracker.edit(|record| record.state.activity = Some(activity));
        }
    }
}
