//! What this process did lately, cache by cache: it bridges the time until the service lists it.
//!
//! Nothing here has to survive a restart; see [`crate::ensure`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imagecache_core::{CacheId, CacheKey};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OwnedMutexGuard;

/// How long a change may be missing from lists. Past it the list is believed.
pub(crate) const CONSISTENCY_WINDOW: SignedDuration = SignedDuration::from_secs(30);
/// Keys that nobody asked for in this time are forgotten.
const FORGET_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What was done under one key.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Part of the token of the next call to create.
    pub(crate) generation: u32,
    /// The build that the next call to create begins, when it is not the first.
    pub(crate) attempt: Option<u32>,
    /// What the last call to create gave, until it is listed.
    pub(crate) created: Option<Created>,
    /// Since when the service says that the token stands for other parameters.
    pub(crate) mismatch_since: Option<Timestamp>,
    touched: Option<Timestamp>,
}

/// A cache that was created and is not listed yet.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) id: CacheId,
    pub(crate) at: Timestamp,
}

/// What this process did lately.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    keys: Mutex<HashMap<CacheKey, Arc<tokio::sync::Mutex<Recent>>>>,
    /// Caches that were deleted, and when: they may still be listed.
    deleted: Mutex<HashMap<String, Timestamp>>,
}

impl Memory {
    /// What was done under `key`; whoever holds it is the only one who changes caches of that key.
    pub(crate) async fn lock(&self, key: &CacheKey, now: Timestamp) -> OwnedMutexGuard<Recent> {
        let recent = Arc::clone(lock(&self.keys).entry(key.clone()).or_default());
        let mut recent = recent.lock_owned().await;
        recent.touched = Some(now);
        recent
    }

    /// Notes that a cache was deleted.
    pub(crate) fn note_deleted(&self, id: &str, now: Timestamp) {
        lock(&self.deleted).insert(id.to_owned(), now);
    }

    /// Whether a cache was deleted a moment ago.
    pub(crate) fn is_deleted(&self, id: &str, now: Timestamp) -> bool {
        lock(&self.deleted).get(id).is_some_and(|at| is_recent(*at, now))
    }

    /// Forgets what no longer matters.
    pub(crate) fn prune(&self, now: Timestamp) {
        lock(&self.deleted).retain(|_, at| is_recent(*at, now));
        lock(&self.keys).retain(|_, recent| {
            let idle = Arc::strong_count(recent) == 1;
            let old = recent.try_lock().is_ok_and(|recent| {
                recent
                    .touched
                    .is_none_or(|touched| now.duration_since(touched) > FORGET_AFTER)
            });
            !(idle && old)
        });
    }
}

/// Whether what happened at `at` may still be missing from lists. After the clock was set back it may: waiting is the lesser
/// evil.
pub(crate) fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < CONSISTENCY_WINDOW
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[tokio::test]
    async fn old_keys_are_forgotten_unless_somebody_holds_them() {
        let memory = Memory::default();
        let (idle, held): (CacheKey, CacheKey) = ("idle".parse().unwrap(), "held".parse().unwrap());
        memory.lock(&idle, at(0)).await.generation = 7;
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
        let memory = Memory::default();
        memory.note_deleted("imc-1", at(100));
        assert!(memory.is_deleted("imc-1", at(129)));
        assert!(memory.is_deleted("imc-1", at(0)), "the clock was set back");
        assert!(!memory.is_deleted("imc-1", at(130)), "then the list is believed");
        assert!(!memory.is_deleted("imc-2", at(100)));
        memory.prune(at(130));
        assert!(lock(&memory.deleted).is_empty());
    }
}
