//! The provider's caches as pods choose among them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use imagecache_core::matching::{Decision, MatchIndex, RegistryAliases};
use imagecache_core::{CacheKey, CacheState, PodRequest};
use jiff::Timestamp;

/// An index of all caches that many read while one keeps it up to date.
///
/// It is fed with differences, few at a time, so that nobody who reads ever waits for a whole listing.
#[derive(Debug, Default)]
pub struct Catalog {
    index: RwLock<MatchIndex>,
    loaded: AtomicBool,
}

impl Catalog {
    /// An empty one in which these registries mean the same.
    pub fn new(aliases: RegistryAliases) -> Self {
        Self {
            index: RwLock::new(MatchIndex::new(aliases)),
            loaded: AtomicBool::new(false),
        }
    }

    /// Whether it is complete: the provider has listed its caches, and all of them are in here.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Chooses for one pod.
    pub fn decide(&self, request: &PodRequest, now: Timestamp) -> Decision {
        self.read(|index| index.decide(request, now))
    }

    /// Reads the index; whoever keeps it up to date waits meanwhile.
    pub fn read<R>(&self, read: impl FnOnce(&MatchIndex) -> R) -> R {
        // Every change leaves the index usable, so a poisoned lock holds nothing broken.
        read(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the present states of some caches; `None` is a cache that is gone.
    pub(crate) fn apply(&self, changes: &[(CacheKey, Option<CacheState>)]) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (key, state) in changes {
            match state {
                Some(state) => index.put(state),
                None => index.remove(key),
            }
        }
    }

    /// From now on it is complete.
    pub(crate) fn loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }
}
