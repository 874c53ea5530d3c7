//! Where finished snapshots are kept, and the removal of those that nothing needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use imagecache_blocks::{DirectoryStore, Result, SnapshotStore};
use imagecache_ebs::EbsStore;

use crate::config::{LocalConfig, StoreKind};

/// Where finished snapshots are kept. Shared by the provider and its builds.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
    kind: StoreKind,
    /// Something may be kept elsewhere that nothing needs; true at first, since an earlier process may have left it.
    dirty: AtomicBool,
    /// One collection at a time: each lists everything.
    collecting: Mutex<()>,
}

impl Shelf {
    /// The one that `config` asks for.
    pub(crate) fn new(config: &LocalConfig, store: &DirectoryStore) -> Self {
        match config.store.kind {
            StoreKind::Directory => Self::over(Arc::new(store.clone()), StoreKind::Directory),
            StoreKind::Ebs => Self::over(Arc::new(EbsStore::new(config.ebs.clone())), StoreKind::Ebs),
        }
    }

    /// One over `snapshots`.
    pub(crate) fn over(snapshots: Arc<dyn SnapshotStore>, kind: StoreKind) -> Self {
        Self {
            snapshots,
            kind,
            dirty: AtomicBool::new(kind != StoreKind::Directory),
            collecting: Mutex::default(),
        }
    }

    /// Whether snapshots are kept outside the directory, where keeping them takes time and money.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.kind != StoreKind::Directory
    }

    /// Notes that something may have become unneeded elsewhere.
    pub(crate) fn soil(&self) {
        self.dirty.store(self.is_elsewhere(), Ordering::Release);
    }

    /// Removes what nothing needs: in the directory, and elsewhere if something may be there. Blocks.
    ///
    /// # Errors
    /// Only those of the directory. What cannot be removed elsewhere now is tried again by the next collection.
    pub(crate) fn collect(&self, store: &DirectoryStore) -> Result<()> {
        store.collect_garbage()?;
        self.collect_elsewhere(store);
        Ok(())
    }

    /// Removes what nothing needs elsewhere, if something may be there. Whether nothing is left to be tried again. Blocks.
    pub(crate) fn collect_elsewhere(&self, store: &DirectoryStore) -> bool {
        let _alone = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return true;
        }
        match self.snapshots.collect(store) {
            Ok(collected) => {
                if collected.removed > 0 {
                    tracing::info!(removed = collected.removed, "removed snapshots that nothing needs");
                }
                if collected.left > 0 {
                    self.soil();
                }
                collected.left == 0
            }
            Err(error) => {
                self.soil();
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot remove snapshots that nothing needs; it is tried again");
                false
            }
        }
    }
}
