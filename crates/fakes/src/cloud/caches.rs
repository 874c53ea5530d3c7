//! The image caches of an account: the books about them, and how time changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::{BuildEnd, Mint, Pace};

/// One image cache of a vendor.
pub trait Entry {
    /// `imc-…`
    fn id(&self) -> &str;
    /// Its name.
    fn name(&self) -> &str;
    /// When it was made.
    fn created(&self) -> Timestamp;
    /// When it vanishes.
    fn expires(&self) -> Option<Timestamp>;
    /// Whether its build instance runs.
    fn builds(&self) -> bool;
    /// Whether something of it goes on and will end; a build that hangs does not.
    fn goes_on(&self) -> bool;
    /// When its stage ends by itself.
    fn stage_end(&self, pace: Pace) -> Option<Timestamp>;
    /// Whether the end of this stage decides how the build ends.
    fn is_decided(&self) -> bool;
    /// One step on.
    fn step(&mut self, end: Option<BuildEnd>, at: Timestamp, mint: &mut Mint);
    /// Shows it in another status from now on.
    fn show_as(&mut self, word: &str, now: Timestamp);
}

/// All caches, by the order in which they were made.
#[derive(Debug)]
pub struct Caches<C> {
    all: BTreeMap<u64, C>,
    by_id: HashMap<String, u64>,
    by_name: HashMap<String, BTreeSet<u64>>,
    /// Caches whose stage will end.
    running: BTreeSet<u64>,
    /// The same, by when; empty when only the test decides.
    due: BTreeSet<(Timestamp, u64)>,
    /// Caches that vanish, by when.
    expiring: BTreeSet<(Timestamp, u64)>,
    /// All that ever were.
    pub(crate) made: usize,
    /// Those of them that a test put there.
    pub(crate) foreign: usize,
    pub(crate) pace: Pace,
    pub(crate) ends: VecDeque<BuildEnd>,
}

impl<C> Default for Caches<C> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            by_id: HashMap::new(),
            by_name: HashMap::new(),
            running: BTreeSet::new(),
            due: BTreeSet::new(),
            expiring: BTreeSet::new(),
            made: 0,
            foreign: 0,
            pace: Pace::default(),
            ends: VecDeque::new(),
        }
    }
}

impl<C: Entry> Caches<C> {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        let ends = |number: &u64| Some((self.all.get(number)?.stage_end(pace)?, *number));
        self.due = self.running.iter().filter_map(ends).collect();
    }

    /// Takes a new cache in.
    pub(crate) fn insert(&mut self, cache: C) {
        let number = u64::try_from(self.made).unwrap_or(u64::MAX);
        self.made += 1;
        self.by_id.insert(cache.id().to_owned(), number);
        self.note(number, &cache);
        self.all.insert(number, cache);
    }

    pub(crate) fn number(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&C> {
        self.all.get(&number)
    }

    /// The cache with this id.
    pub(crate) fn find(&self, id: &str) -> Option<&C> {
        self.get(self.number(id)?)
    }

    /// The numbers of all caches with exactly this name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = u64> {
        self.by_name.get(name).into_iter().flatten().copied()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &C)> {
        self.all.iter().map(|(number, cache)| (*number, cache))
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<C> {
        let cache = self.all.remove(&number)?;
        self.by_id.remove(cache.id());
        self.forget(number, &cache);
        Some(cache)
    }

    /// Changes a cache and keeps the books about it.
    pub(crate) fn change(&mut self, number: u64, change: impl FnOnce(&mut C)) {
        let Some(mut cache) = self.all.remove(&number) else {
            return;
        };
        self.forget(number, &cache);
        change(&mut cache);
        self.note(number, &cache);
        self.all.insert(number, cache);
    }

    fn note(&mut self, number: u64, cache: &C) {
        self.by_name.entry(cache.name().to_owned()).or_default().insert(number);
        if cache.goes_on() {
            self.running.insert(number);
            self.due.extend(cache.stage_end(self.pace).map(|at| (at, number)));
        }
        self.expiring.extend(cache.expires().map(|at| (at, number)));
    }

    fn forget(&mut self, number: u64, cache: &C) {
        if let Some(numbers) = self.by_name.get_mut(cache.name()) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_name.remove(cache.name());
            }
        }
        self.running.remove(&number);
        if let Some(at) = cache.stage_end(self.pace) {
            self.due.remove(&(at, number));
        }
        if let Some(at) = cache.expires() {
            self.expiring.remove(&(at, number));
        }
    }

    /// Lets time do its work up to `now`.
    pub(crate) fn tick(&mut self, now: Timestamp, mint: &mut Mint) {
        while let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.step(number, at, mint);
        }
        while let Some((_, number)) = self.expiring.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(number);
        }
    }

    /// Ends every build that does not hang; what goes on after a build ends the time after.
    pub(crate) fn finish(&mut self, now: Timestamp, mint: &mut Mint) {
        for number in self.running.clone() {
            self.step(number, now, mint);
            while self.get(number).is_some_and(|cache| cache.builds() && cache.goes_on()) {
                self.step(number, now, mint);
            }
        }
    }

    fn step(&mut self, number: u64, at: Timestamp, mint: &mut Mint) {
        let decided = self.get(number).is_some_and(Entry::is_decided);
        let end = if decided { self.ends.pop_front() } else { None };
        self.change(number, |cache| cache.step(end, at, mint));
    }
}

/// Whether a cache is described yet, where that takes as long as `lag`.
pub(crate) fn is_visible(cache: &impl Entry, lag: Duration, now: Timestamp) -> bool {
    lag.is_zero() || cache.created() + lag < now
}
