//! Which pods were looked after, for as long as somebody may ask.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// UIDs in two generations: each is remembered for at least one lifetime and at most two.
#[derive(Debug)]
pub(super) struct Seen {
    lifetime: Duration,
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    young: HashSet<String>,
    old: HashSet<String>,
    since: Instant,
}

impl Seen {
    /// Remembers for `lifetime`.
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            generations: Mutex::new(Generations {
                young: HashSet::new(),
                old: HashSet::new(),
                since: Instant::now(),
            }),
        }
    }

    /// Whether `uid` comes for the first time.
    pub(super) fn is_new(&self, uid: &str) -> bool {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.since.elapsed() >= self.lifetime {
            generations.old = std::mem::take(&mut generations.young);
            generations.since = Instant::now();
        }
        !generations.old.contains(uid) && generations.young.insert(uid.to_owned())
    }

    /// Whether `uid` came, and was not forgotten.
    pub(super) fn has(&self, uid: &str) -> bool {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.old.contains(uid) || generations.young.contains(uid)
    }

    /// As if `uid` had never come.
    pub(super) fn forget(&self, uid: &str) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.remove(uid);
        generations.old.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_uid_is_remembered_for_a_lifetime_and_then_forgotten() {
        let lifetime = Duration::from_secs(10);
        let seen = Seen::new(lifetime);
        assert!(seen.is_new("a"));
        tokio::time::advance(lifetime - Duration::from_millis(1)).await;
        assert!(!seen.is_new("a"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(seen.is_new("b"), "a generation later");
        assert!(!seen.is_new("a"), "the older generation still counts");
        tokio::time::advance(lifetime).await;
        assert!(seen.is_new("c"));
        assert!(seen.is_new("a"), "two generations later");
        assert!(["a", "b", "c"].into_iter().all(|uid| seen.has(uid)) && !seen.has("d"));
        seen.forget("c");
        assert!(!seen.has("c"));
        assert!(seen.is_new("c"));
    }
}
