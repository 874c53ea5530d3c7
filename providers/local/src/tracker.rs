//! A running build as others see it: its record, live numbers, and whether it is to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imagecache_blocks::{CacheRecord, DirectoryStore, Durability, RecordChange};
use imagecache_core::{CacheEvent, CacheState, Clock, EventSeverity, LayerStage, Phase, Progress};
use imagecache_oci::LayerCounters;
use tokio::sync::Notify;

use crate::failure::Stop;

/// A running build. Shared by the build's tasks and everybody who asks for its state.
pub(crate) struct Tracker {
    pub(crate) store: DirectoryStore,
    clock: Clock,
    shared: Mutex<Shared>,
    /// Held while the record is written, so that an older copy never overwrites a newer one.
    writing: Mutex<()>,
    cancelled: AtomicBool,
    wake: Notify,
    finished: AtomicBool,
    finish: Notify,
    /// How the build ended could not be written down.
    unsaved: AtomicBool,
}

/// Guarded by the tracker's lock.
struct Shared {
    /// Percent when all layers are there; the rest is for the snapshot.
    layers_percent: u8,
    record: CacheRecord,
    /// By layer of the state: the counters of a layer that is being fetched.
    counters: Vec<Option<Arc<LayerCounters>>>,
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Tracker {
    pub(crate) fn new(store: DirectoryStore, clock: Clock, record: CacheRecord, layers_percent: u8) -> Self {
        Self {
            store,
            clock,
            shared: Mutex::new(Shared {
                layers_percent,
                record,
                counters: Vec::new(),
            }),
            writing: Mutex::default(),
            cancelled: AtomicBool::new(false),
            wake: Notify::new(),
            finished: AtomicBool::new(false),
            finish: Notify::new(),
            unsaved: AtomicBool::new(false),
        }
    }

    /// Tells the build to end without writing anything more.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Returns once the build is to end.
    pub(crate) async fn cancelled(&self) {
        wait_for(&self.wake, &self.cancelled).await;
    }

    /// Notes that the build's last step is done.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.finish.notify_waiters();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Returns once the build's last step is done.
    pub(crate) async fn finished(&self) {
        wait_for(&self.finish, &self.finished).await;
    }

    /// Notes that how the build ended is known here only, for example because the disk is full.
    pub(crate) fn set_unsaved(&self) {
        self.unsaved.store(true, Ordering::Release);
    }

    pub(crate) fn is_unsaved(&self) -> bool {
        self.unsaved.load(Ordering::Acquire)
    }

    /// The state of this moment.
    pub(crate) fn state(&self) -> CacheState {
        let mut shared = self.shared();
        shared.refresh(&self.clock);
        shared.record.state.clone()
    }

    /// The record of this moment.
    pub(crate) fn record(&self) -> CacheRecord {
        let mut shared = self.shared();
        shared.refresh(&self.clock);
        shared.record.clone()
    }

    /// Changes the record in memory.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut CacheRecord)) {
        let mut shared = self.shared();
        shared.refresh(&self.clock);
        change(&mut shared.record);
        shared.record.state.updated_at = (self.clock)();
    }

    /// Adds an event.
    pub(crate) fn event(&self, severity: EventSeverity, reason: &str, message: impl Into<String>) {
        let event = CacheEvent::new(severity, reason, message, (self.clock)());
        self.edit(|record| record.state.push_event(event));
    }

    /// Shows the numbers of layer `index` of the state from now on.
    pub(crate) fn watch(&self, index: usize, counters: Arc<LayerCounters>) {
        let mut shared = self.shared();
        if shared.counters.len() <= index {
            shared.counters.resize(index + 1, None);
        }
        if let Some(slot) = shared.counters.get_mut(index) {
            *slot = Some(counters);
        }
        shared.set_stage(index, LayerStage::Fetching);
    }

    /// Notes that layer `index` of the state is there.
    pub(crate) fn layer_done(&self, index: usize, stage: LayerStage) {
        let mut shared = self.shared();
        if let Some(slot) = shared.counters.get_mut(index) {
            *slot = None;
        }
        shared.set_stage(index, stage);
        if let Some(layer) = shared.record.state.layers.get_mut(index) {
            layer.done_bytes = layer.total_bytes;
        }
        shared.refresh(&self.clock);
    }

    /// Writes the record, unless the cache was deleted meanwhile. Blocks.
    ///
    /// # Errors
    /// `Cancelled` when the record now belongs to nobody or to another build.
    pub(crate) fn persist(&self, durability: Durability) -> Result<(), Stop> {
        if self.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = Box::new(self.record());
        let id = record.state.id.clone();
        let ours = self.store.update_record(&id, |current| match current {
            // Looked at again under the store's lock: whoever cancels does so before it removes the record.
            Some(current) if current.build == record.build && !self.is_cancelled() => {
                (RecordChange::Write(record, durability), true)
            }
            _ => (RecordChange::Keep, false),
        })?;
        if !ours {
            self.cancel();
            return Err(Stop::Cancelled);
        }
        Ok(())
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn set_stage(&mut self, index: usize, stage: LayerStage) {
        if let Some(layer) = self.record.state.layers.get_mut(index) {
            layer.stage = stage;
        }
    }

    /// Takes over what the counters say. Percent never goes back.
    fn refresh(&mut self, clock: &Clock) {
        let state = &mut self.record.state;
        if state.phase != Phase::Creating {
            return;
        }
        let mut moved = false;
        for (layer, counters) in state.layers.iter_mut().zip(&self.counters) {
            let Some(counters) = counters else { continue };
            let done = counters.compressed().min(layer.total_bytes).max(layer.done_bytes);
            moved |= done != layer.done_bytes;
            layer.done_bytes = done;
        }
        let sum = |bytes: &dyn Fn(&imagecache_core::LayerProgress) -> u64| {
            state
                .layers
                .iter()
                .fold(0_u64, |sum, layer| sum.saturating_add(bytes(layer)))
        };
        let part = Progress::of(sum(&|layer| layer.done_bytes), sum(&|layer| layer.total_bytes)).percent();
        let percent = u32::from(part) * u32::from(self.layers_percent) / 100;
        let progress = Progress::from_percent(u8::try_from(percent).unwrap_or(self.layers_percent));
        moved |= progress > state.progress;
        state.progress = state.progress.max(progress);
        if moved {
            state.updated_at = clock();
        }
    }
}

async fn wait_for(notify: &Notify, flag: &AtomicBool) {
    loop {
        let notified = notify.notified();
        tokio::pin!(notified);
        // Registered before the flag is read: a change in between wakes it.
        notified.as_mut().enable();
        if flag.load(Ordering::Acquire) {
            return;
        }
        notified.await;
    }
}
