//! What a process did lately, cache by cache: it bridges the time until a service lists it. Nothing here has to survive a
//! restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard};

/// Keys that nobody asked for in this time are forgotten.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What was done under each key, as `R`, and what was deleted.
#[derive(Debug)]
pub struct Memory<R> {
    window: SignedDuration,
    keys: Mutex<HashMap<CacheKey, Arc<tokio::sync::Mutex<Slot<R>>>>>,
    /// Caches that were deleted, and when: they may still be listed.
    deleted: Mutex<HashMap<String, Timestamp>>,
}

/// The memory of one key.
#[derive(Debug, Default)]
pub struct Slot<R> {
    recent: R,
    touched: Option<Timestamp>,
}

/// A cache that was created and is not listed yet.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: CacheId,
    /// When the service gave it.
    pub at: Timestamp,
}

impl Created {
    /// Its state, as far as it is known.
    pub fn state(&self, key: &CacheKey, spec: &CacheSpec) -> CacheState {
        CacheState {
            id: self.id.clone(),
            ..CacheState::requested(key, spec, self.at)
        }
    }
}

impl<R: Default> Memory<R> {
    /// For a service whose lists may miss a change for `window`. Past it they are believed.
    pub fn new(window: SignedDuration) -> Self {
        Self {
            window,
            keys: Mutex::default(),
            deleted: Mutex::default(),
        }
    }

    /// What was done under `key`; whoever holds it is the only one who changes caches of that key.
    pub async fn lock(&self, key: &CacheKey, now: Timestamp) -> OwnedMappedMutexGuard<Slot<R>, R>
    where
        R: Send + 'static,
    {
        let slot = Arc::clone(lock(&self.keys).entry(key.clone()).or_default());
        let mut slot = slot.lock_owned().await;
        slot.touched = Some(now);
        OwnedMutexGuard::map(slot, |slot| &mut slot.recent)
    }

    /// Notes that a cache was deleted.
    pub fn note_deleted(&self, id: &str, now: Timestamp) {
        lock(&self.deleted).insert(id.to_owned(), now);
    }

    /// Whether a cache was deleted a moment ago.
    pub fn is_deleted(&self, id: &str, now: Timestamp) -> bool {
        lock(&self.deleted).get(id).is_some_and(|at| self.is_recent(*at, now))
    }

    /// Whether what happened at `at` may still be missing from lists. After the clock was set back it may: waiting is the
    /// lesser evil.
    pub fn is_recent(&self, at: Timestamp, now: Timestamp) -> bool {
        now.duration_since(at) < self.window
    }

    /// Forgets what no longer matters.
    pub fn prune(&self, now: Timestamp) {
        lock(&self.deleted).retain(|_, at| self.is_recent(*at, now));
        lock(&self.keys).retain(|_, slot| {
            let idle = Arc::strong_count(slot) == 1;
            let old = slot.try_lock().is_ok_and(|slot| {
                slot.touched
                    .is_none_or(|touched| now.duration_since(touched) > FORGET_AFTER.max(self.window))
            });
            !(idle && old)
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: SignedDuration = SignedDuration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[tokio::test]
    async fn old_keys_are_forgotten_unless_somebody_holds_them() {
        let memory = Memory::<u32>::new(WINDOW);
        let (idle, held): (CacheKey, CacheKey) = ("idle".parse().unwrap(), "held".parse().unwrap());
        *memory.lock(&idle, at(0)).await = 7;
        let guard = memory.lock(&held, at(0)).await;
        memory.prune(at(3600));
        assert_eq!(lock(&memory.keys).len(), 2, "not old yet");
        memory.prune(at(3601));
        assert_eq!(lock(&memory.keys).keys().collect::<Vec<_>>(), [&held]);
        drop(guard);
        memory.prune(at(7202));
        assert!(lock(&memory.keys).is_empty());
    }

    #[test]
    fn a_deleted_cache_is_hidden_for_a_moment() {
        let memory = Memory::<u32>::new(WINDOW);
        memory.note_deleted("imc-1", at(100));
        assert!(memory.is_deleted("imc-1", at(129)));
        assert!(memory.is_deleted("imc-1", at(0)), "the clock was set back");
        assert!(!memory.is_deleted("imc-1", at(130)), "then the list is believed");
        assert!(!memory.is_deleted("imc-2", at(100)));
        memory.prune(at(130));
        assert!(lock(&memory.deleted).is_empty());
    }
}
