//! What the provider last said of every cache, and who wants to hear of changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use imagecache_core::{CacheKey, CacheSpec, CacheState, Failure, Phase};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// The part of a key that names its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner(String);

impl Owner {
    /// The owner with Kubernetes UID `uid`.
    pub(super) fn of_uid(uid: &str) -> Self {
        // Which spec does not matter: every key of one owner starts the same way.
        Self::of_key(&CacheKey::new(uid, &CacheSpec::new(Vec::new())))
    }

    fn of_key(key: &CacheKey) -> Self {
        let text = key.as_str();
        Self(text.rsplit_once('-').map_or(text, |(owner, _)| owner).to_owned())
    }
}

/// A later use of a cache is told after this.
const MATCH_INTERVAL: SignedDuration = SignedDuration::from_mins(5);

/// Whether a use at this time is worth telling, after one that is known.
fn is_newer(known: Option<Timestamp>, at: Timestamp) -> bool {
    known.is_none_or(|known| at.duration_since(known) >= MATCH_INTERVAL)
}

/// Where to send the name of an object whose cache changed.
pub(super) type Wake = UnboundedSender<String>;

/// States by owner and key. One listing refreshes all of them; calls to the provider in between refresh single ones.
#[derive(Debug, Default)]
pub(super) struct States {
    inner: Mutex<Inner>,
    changed_by_us: Notify,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    loaded: bool,
    failure: Option<Failure>,
    caches: HashMap<Owner, BTreeMap<CacheKey, Entry>>,
    interested: HashMap<Owner, (String, Wake)>,
    /// When a pod last got a cache of an owner, as far as its object was told.
    matched: HashMap<Owner, Timestamp>,
    /// Caches that changed since [`States::changes`] last told of them.
    untold: BTreeSet<CacheKey>,
}

/// A state, or the mark that the cache was removed, and when we heard of it.
#[derive(Debug)]
struct Entry {
    state: Option<CacheState>,
    heard_at: Instant,
}

impl States {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the maps whole, so a poisoned lock holds nothing broken.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a listing that was started at `started`, and wakes the objects whose caches changed.
    ///
    /// What was heard after `started` is newer than the listing and stays.
    pub(super) fn listed(&self, states: Vec<CacheState>, started: Instant) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.loaded = true;
        inner.failure = None;
        let mut fresh: HashMap<Owner, BTreeMap<CacheKey, CacheState>> = HashMap::new();
        for state in states {
            let owner = Owner::of_key(&state.key);
            fresh.entry(owner).or_default().insert(state.key.clone(), state);
        }
        let mut changed = Vec::new();
        inner.caches.retain(|owner, known| {
            let mut listed = fresh.remove(owner).unwrap_or_default();
            let before = known.len();
            let mut differs = false;
            known.retain(|key, entry| {
                let state = listed.remove(key);
                if entry.heard_at > started {
                    return true;
                }
                if entry.state != state {
                    differs = true;
                    inner.untold.insert(key.clone());
                }
                entry.state = state;
                entry.state.is_some()
            });
            differs |= !listed.is_empty() || known.len() != before;
            inner.untold.extend(listed.keys().cloned());
            known.extend(
                listed
                    .into_iter()
                    .map(|(key, state)| (key, Entry::heard(state, started))),
            );
            if differs {
                changed.push(owner.clone());
            }
            !known.is_empty()
        });
        for (owner, listed) in fresh {
            inner.untold.extend(listed.keys().cloned());
            let entries = listed
                .into_iter()
                .map(|(key, state)| (key, Entry::heard(state, started)));
            inner.caches.insert(owner.clone(), entries.collect());
            changed.push(owner);
        }
        for (name, wake) in changed.iter().filter_map(|owner| inner.interested.get(owner)) {
            // A closed channel means that this controller is shutting down.
            let _ = wake.send(name.clone());
        }
        self.changed.notify_one();
    }

    /// Notes that a listing failed; what was known stays.
    pub(super) fn listing_failed(&self, failure: Failure) {
        self.lock().failure = Some(failure);
    }

    /// Whether the states can be relied on: at least one listing succeeded.
    ///
    /// # Errors
    ///
    /// Why not; `Ok(false)` while the first listing is under way.
    pub(super) fn loaded(&self) -> Result<bool, Failure> {
        let inner = self.lock();
        match (&inner.failure, inner.loaded) {
            (_, true) => Ok(true),
            (Some(failure), false) => Err(failure.clone()),
            (None, false) => Ok(false),
        }
    }

    /// What is known of `key`.
    pub(super) fn get(&self, key: &CacheKey) -> Option<CacheState> {
        let inner = self.lock();
        inner.caches.get(&Owner::of_key(key))?.get(key)?.state.clone()
    }

    /// Keys of all caches of `owner`.
    pub(super) fn keys(&self, owner: &Owner) -> Vec<CacheKey> {
        let inner = self.lock();
        let entries = inner.caches.get(owner).into_iter().flatten();
        entries
            .filter(|(_, entry)| entry.state.is_some())
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Owners of caches whose changes nobody wants to hear of: no object with their UID was seen so far.
    pub(super) fn unclaimed(&self) -> Vec<Owner> {
        let inner = self.lock();
        let owned = |entries: &BTreeMap<CacheKey, Entry>| entries.values().any(|entry| entry.state.is_some());
        let unclaimed = inner
            .caches
            .iter()
            .filter(|(owner, entries)| owned(entries) && !inner.interested.contains_key(*owner));
        unclaimed.map(|(owner, _)| owner.clone()).collect()
    }

    /// Takes what a call to the provider just told, and asks for a listing soon.
    pub(super) fn heard(&self, state: CacheState) {
        let key = state.key.clone();
        self.put(key, Some(state));
        self.changed_by_us.notify_one();
    }

    /// Notes that the cache under `key` was just removed.
    pub(super) fn removed(&self, key: &CacheKey) {
        self.put(key.clone(), None);
    }

    fn put(&self, key: CacheKey, state: Option<CacheState>) {
        let entry = Entry {
            state,
            heard_at: Instant::now(),
        };
        let mut inner = self.lock();
        inner.untold.insert(key.clone());
        inner.caches.entry(Owner::of_key(&key)).or_default().insert(key, entry);
        self.changed.notify_one();
    }

    /// The present states of caches that changed since they were last told here, at most `count` of them; `None` is a cache
    /// that is gone. Each change is told once, so there can be one listener.
    pub(super) fn changes(&self, count: usize) -> Vec<(CacheKey, Option<CacheState>)> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let keys = std::iter::from_fn(|| inner.untold.pop_first()).take(count);
        let state = |key: &CacheKey| inner.caches.get(&Owner::of_key(key))?.get(key)?.state.clone();
        keys.map(|key| {
            let state = state(&key);
            (key, state)
        })
        .collect()
    }

    /// Resolves when there may be changes to tell of, or something was listed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on `wake` is told `name` when a cache of `owner` changes.
    pub(super) fn tell(&self, owner: Owner, name: String, wake: &Wake) {
        self.lock().interested.insert(owner, (name, wake.clone()));
    }

    /// Nobody wants to hear of `owner` any more.
    pub(super) fn forget(&self, owner: &Owner) {
        let mut inner = self.lock();
        inner.interested.remove(owner);
        inner.matched.remove(owner);
    }

    /// Notes that a pod that was created `at` this time got the cache under `key`, and wakes the object that it belongs to,
    /// unless that was told not long ago.
    pub(super) fn matched(&self, key: &CacheKey, at: Timestamp) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let owner = Owner::of_key(key);
        let Some((name, wake)) = inner.interested.get(&owner) else {
            return;
        };
        let told = inner.matched.get(&owner).copied();
        if is_newer(told, at) {
            inner.matched.insert(owner, at);
            // A closed channel means that this controller is shutting down.
            let _ = wake.send(name.clone());
        }
    }

    /// When a pod last got a cache of `owner`, where its status says `known`: a status is not written for every pod.
    pub(super) fn last_matched(&self, owner: &Owner, known: Option<Timestamp>) -> Option<Timestamp> {
        let heard = self.lock().matched.get(owner).copied();
        heard.filter(|at| is_newer(known, *at)).or(known)
    }

    /// How many caches there are by phase, and whether any is still moving.
    pub(super) fn census(&self) -> Census {
        let inner = self.lock();
        let mut census = Census::default();
        for state in inner
            .caches
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|entry| entry.state.as_ref())
        {
            *census.by_phase.entry(state.phase.as_str()).or_default() += 1;
            census.moving |= matches!(state.phase, Phase::Pending | Phase::Creating | Phase::Unknown(_));
        }
        census
    }

    /// Resolves when something was started that a listing should follow soon.
    pub(super) async fn changed_by_us(&self) {
        self.changed_by_us.notified().await;
    }
}

impl Entry {
    fn heard(state: CacheState, heard_at: Instant) -> Self {
        Self {
            state: Some(state),
            heard_at,
        }
    }
}

/// A count of all caches.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Census {
    /// Caches by the stable name of their phase.
    pub(super) by_phase: BTreeMap<&'static str, u64>,
    /// Whether any cache changes by itself.
    pub(super) moving: bool,
}

#[cfg(test)]
mod tests {
    use imagecache_core::{CacheId, ErrorKind, Progress};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn state(key: &CacheKey, percent: u8) -> CacheState {
        CacheState {
            key: key.clone(),
            id: CacheId::for_key(key),
            display_name: None,
            phase: Phase::Creating,
            progress: Progress::from_percent(percent),
            activity: None,
            images: Vec::new(),
            resolved: Vec::new(),
            size_gib: 20,
            content_bytes: None,
            snapshot_id: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            events: Vec::new(),
            layers: Vec::new(),
        }
    }

    fn key(uid: &str, image: &str) -> CacheKey {
        CacheKey::new(uid, &CacheSpec::new(vec![image.parse().unwrap()]))
    }

    #[test]
    fn only_the_owners_of_changed_caches_are_woken() {
        let states = States::default();
        let (wake, mut woken) = unbounded_channel();
        for uid in ["a", "b", "c"] {
            states.tell(Owner::of_uid(uid), uid.to_uppercase(), &wake);
        }
        let [a, b, c] = ["a", "b", "c"].map(|uid| key(uid, "nginx"));
        let mut expect = |names: &[&str], when: &str| {
            let mut found: Vec<String> = std::iter::from_fn(|| woken.try_recv().ok()).collect();
            found.sort();
            assert_eq!(found, names, "{when}");
        };
        states.listed(vec![state(&a, 1), state(&b, 1)], Instant::now());
        expect(&["A", "B"], "two new ones");
        states.listed(vec![state(&a, 1), state(&b, 1)], Instant::now());
        expect(&[], "nothing changed");
        states.listed(vec![state(&a, 2), state(&b, 1), state(&c, 1)], Instant::now());
        expect(&["A", "C"], "one moved, one is new");
        states.listed(vec![state(&a, 2), state(&c, 1)], Instant::now());
        expect(&["B"], "one vanished");
        states.forget(&Owner::of_uid("a"));
        states.listed(Vec::new(), Instant::now());
        expect(&["C"], "nobody listens to a");
    }

    #[test]
    fn what_was_heard_after_a_listing_started_is_newer_than_it() {
        let states = States::default();
        let (old, new) = (key("a", "nginx"), key("a", "redis"));
        let long_ago = Instant::now() - std::time::Duration::from_secs(1);
        states.listed(vec![state(&old, 1)], long_ago);
        let started = Instant::now() - std::time::Duration::from_millis(1);
        states.heard(state(&new, 0));
        states.removed(&old);
        states.listed(vec![state(&old, 1)], started);
        assert_eq!(
            states.keys(&Owner::of_uid("a")),
            std::slice::from_ref(&new),
            "the slow listing changes nothing"
        );
        states.listed(Vec::new(), Instant::now() + std::time::Duration::from_millis(1));
        assert_eq!(states.keys(&Owner::of_uid("a")), [], "the next one does");
    }

    #[test]
    fn uses_of_a_cache_are_told_now_and_then() {
        let states = States::default();
        let (wake, mut woken) = unbounded_channel();
        let (one, owner) = (key("a", "nginx"), Owner::of_uid("a"));
        let minute = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        states.matched(&one, minute(0));
        states.tell(owner.clone(), "A".to_owned(), &wake);
        assert_eq!(states.last_matched(&owner, None), None, "there was no object to tell");
        for (at, told, expected) in [(1, true, 1), (3, false, 1), (0, false, 1), (6, true, 6), (8, false, 6)] {
            states.matched(&one, minute(at));
            assert_eq!(woken.try_recv().is_ok(), told, "minute {at}");
            assert_eq!(states.last_matched(&owner, None), Some(minute(expected)), "minute {at}");
        }
        for (name, known, expected) in [
            ("the status is older", 0, 6),
            ("by less than is worth a write", 2, 2),
            ("the status is newer, an earlier life wrote it", 9, 9),
        ] {
            assert_eq!(
                states.last_matched(&owner, Some(minute(known))),
                Some(minute(expected)),
                "{name}"
            );
        }
    }

    #[test]
    fn a_failed_listing_forgets_nothing() {
        let states = States::default();
        let failure = Failure {
            kind: ErrorKind::Unavailable,
            message: "down".into(),
        };
        assert_eq!(states.loaded(), Ok(false));
        states.listing_failed(failure.clone());
        assert_eq!(states.loaded(), Err(failure.clone()));
        let one = key("a", "nginx");
        states.listed(vec![state(&one, 1)], Instant::now());
        states.listing_failed(failure);
        assert_eq!(states.loaded(), Ok(true));
        assert_eq!(states.get(&one), Some(state(&one, 1)));
    }
}
