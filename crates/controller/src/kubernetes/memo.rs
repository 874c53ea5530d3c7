//! What the controller remembers of an object between two passes. Losing it costs nothing but time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imagecache_core::{CacheKey, Failure};
use tokio::time::Instant;

/// Memos of all objects of one kind, by UID.
#[derive(Debug)]
pub(super) struct Memos<S> {
    by_uid: Mutex<HashMap<String, Memo<S>>>,
}

#[derive(Debug)]
struct Memo<S> {
    written: Option<Written<S>>,
    attempts: Option<Attempts>,
}

/// The status that we wrote last.
#[derive(Debug)]
struct Written<S> {
    /// `None` once the watch has shown it.
    status: Option<S>,
    /// Versions of the object in order: the one that was seen before our writes, and those that they made.
    versions: Vec<String>,
    at: Instant,
}

/// Attempts at one thing, and when the next may start.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    /// What is attempted.
    pub(super) key: CacheKey,
    /// For which generation of the spec.
    pub(super) generation: Option<i64>,
    /// How often it was tried again.
    pub(super) count: u32,
    /// When the next attempt may start; `None` is never.
    pub(super) not_before: Option<Instant>,
    /// Why the last one failed, when it did at once.
    pub(super) problem: Option<Failure>,
}

impl<S> Default for Memo<S> {
    fn default() -> Self {
        Self {
            written: None,
            attempts: None,
        }
    }
}

impl<S> Default for Memos<S> {
    fn default() -> Self {
        Self {
            by_uid: Mutex::default(),
        }
    }
}

impl<S: Clone> Memos<S> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Memo<S>>> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status that we wrote later than `version` of the object, and when; the watch may not have shown it yet.
    pub(super) fn newer_than(&self, uid: &str, version: &str) -> Option<S> {
        let mut memos = self.lock();
        let written = memos.get_mut(uid)?.written.as_mut()?;
        let (newest, older) = written.versions.split_last()?;
        if newest == version {
            written.status = None;
        }
        written
            .status
            .clone()
            .filter(|_| older.iter().any(|older| older == version))
    }

    /// How long ago we last wrote the status.
    pub(super) fn since_written(&self, uid: &str) -> Option<Duration> {
        self.lock()
            .get(uid)?
            .written
            .as_ref()
            .map(|written| written.at.elapsed())
    }

    /// Notes that `status` was written; `seen` is the version that this pass started from, `made` the version after it.
    pub(super) fn wrote(&self, uid: &str, seen: String, made: Option<String>, status: S) {
        let mut memos = self.lock();
        let memo = memos.entry(uid.to_owned()).or_default();
        let mut versions = memo.written.take().map(|written| written.versions).unwrap_or_default();
        // What came before the version that the watch shows now is past.
        match versions.iter().position(|version| *version == seen) {
            Some(position) => versions = versions.split_off(position),
            None => versions = vec![seen],
        }
        versions.extend(made.filter(|made| !versions.contains(made)));
        memo.written = Some(Written {
            status: Some(status),
            versions,
            at: Instant::now(),
        });
    }

    /// The attempts at `key` for this generation.
    pub(super) fn attempts(&self, uid: &str, key: &CacheKey, generation: Option<i64>) -> Option<Attempts> {
        let memos = self.lock();
        let attempts = memos.get(uid)?.attempts.as_ref()?;
        (attempts.key == *key && attempts.generation == generation).then(|| attempts.clone())
    }

    /// Replaces the attempts.
    pub(super) fn set_attempts(&self, uid: &str, attempts: Option<Attempts>) {
        self.lock().entry(uid.to_owned()).or_default().attempts = attempts;
    }

    /// The object is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_until_the_watch_shows_it() {
        let memos = Memos::default();
        let wrote = |seen: &str, made: &str, status| memos.wrote("u", seen.into(), Some(made.into()), status);
        assert_eq!(memos.newer_than("u", "1"), None, "nothing was written");
        wrote("1", "2", 'a');
        wrote("1", "3", 'b');
        for (version, expected) in [("1", Some('b')), ("2", Some('b')), ("3", None), ("4", None)] {
            assert_eq!(memos.newer_than("u", version), expected, "{version}");
        }
        // A write that changed nothing makes no version.
        wrote("3", "3", 'b');
        assert_eq!(memos.newer_than("u", "3"), None);
        // Somebody else changed the object meanwhile.
        wrote("9", "10", 'c');
        assert_eq!(memos.newer_than("u", "9"), Some('c'));
        assert_eq!(memos.newer_than("u", "3"), None, "long past");
    }
}
