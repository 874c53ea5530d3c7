//! The image caches of the account, and how time changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cloud::{BuildEnd, Mint, Pace};

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    DiskCreated,
    InstanceCreated,
    SnapshotCreated,
    InstanceDeleted,
    DiskDeleted,
    /// A warning that a test asked for: reason and message.
    Warning(String, String),
}

/// Where a cache stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Pending,
    Ready,
    Failed,
    Updating,
    UpdateFailed,
    /// Set by a test.
    Word(String),
}

impl Stage {
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "Pending" => Self::Pending,
            "Ready" => Self::Ready,
            "Failed" => Self::Failed,
            "Updating" => Self::Updating,
            "UpdateFailed" => Self::UpdateFailed,
            other => Self::Word(other.to_owned()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Updating => "Updating",
            Self::UpdateFailed => "UpdateFailed",
            Self::Word(word) => word,
        }
    }
}

/// One image cache.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `manual`, or `auto` for those that the super nodes make by themselves.
    pub(crate) kind: &'static str,
    pub(crate) images: Vec<String>,
    pub(crate) size: u64,
    pub(crate) tags: Vec<(String, String)>,
    /// As they were given, passwords and all.
    pub(crate) credentials: Vec<Value>,
    pub(crate) retention_days: u64,
    pub(crate) created: Timestamp,
    /// All parameters of the call that made it.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) stage: Stage,
    /// When the stage was reached.
    pub(crate) since: Timestamp,
    pub(crate) hangs: bool,
    pub(crate) disk: String,
    pub(crate) instance: String,
    pub(crate) snapshot: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) last_matched: Option<Timestamp>,
    /// Oldest first.
    pub(crate) events: Vec<(Timestamp, Happening)>,
}

impl Cache {
    /// A manual cache whose build starts now.
    pub(crate) fn new(name: String, images: Vec<String>, size: u64, now: Timestamp, mint: &mut Mint) -> Self {
        let mut cache = Self {
            id: format!("imc-{}", mint.word(8)),
            name,
            kind: "manual",
            images,
            size,
            tags: Vec::new(),
            credentials: Vec::new(),
            retention_days: 0,
            created: now,
            parameters: BTreeMap::new(),
            stage: Stage::Pending,
            since: now,
            hangs: false,
            disk: String::new(),
            instance: String::new(),
            snapshot: None,
            expires: None,
            last_matched: None,
            events: Vec::new(),
        };
        cache.start_build(now, mint);
        cache
    }

    /// Gets an instance and a disk.
    fn start_build(&mut self, now: Timestamp, mint: &mut Mint) {
        self.disk = format!("disk-{}", mint.word(8));
        self.instance = format!("eksci-{}", mint.word(8));
        self.since = now;
        self.events.push((now, Happening::DiskCreated));
        self.events.push((now, Happening::InstanceCreated));
    }

    /// Builds again, with what was changed.
    pub(crate) fn rebuild(&mut self, now: Timestamp, mint: &mut Mint) {
        self.stage = Stage::Updating;
        self.start_build(now, mint);
    }

    /// Keeps it for so many days from `now`, or for ever.
    pub(crate) fn retain_for(&mut self, days: u64, now: Timestamp) {
        self.retention_days = days;
        let hours = i64::try_from(days).unwrap_or(0) * 24;
        self.expires = (days > 0).then(|| now + SignedDuration::from_hours(hours));
    }

    /// Whether its build instance runs.
    pub(crate) fn builds(&self) -> bool {
        matches!(self.stage, Stage::Pending | Stage::Updating)
    }

    /// The build is over, one way or the other; instance and disk go away after what there is to tell.
    fn end(&mut self, end: Option<BuildEnd>, at: Timestamp, mint: &mut Mint) {
        let updating = self.stage == Stage::Updating;
        let (stage, told) = match end {
            Some(BuildEnd::Hangs) => {
                self.hangs = true;
                return;
            }
            Some(BuildEnd::Failed { reason, message }) => {
                let stage = if updating { Stage::UpdateFailed } else { Stage::Failed };
                (stage, Happening::Warning(reason, message))
            }
            None => {
                self.snapshot = Some(format!("snap-{}", mint.word(8)));
                (Stage::Ready, Happening::SnapshotCreated)
            }
        };
        self.stage = stage;
        self.since = at;
        let happenings = [told, Happening::InstanceDeleted, Happening::DiskDeleted];
        self.events.extend(happenings.map(|happening| (at, happening)));
    }
}

/// All caches, by the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    all: BTreeMap<u64, Cache>,
    by_id: HashMap<String, u64>,
    by_name: HashMap<String, BTreeSet<u64>>,
    /// Caches whose stage ends with time, by when it began.
    running: BTreeSet<(Timestamp, u64)>,
    /// Caches that vanish, by when.
    expiring: BTreeSet<(Timestamp, u64)>,
    pub(crate) made: usize,
    /// How many of them somebody else made.
    pub(crate) foreign: usize,
    pub(crate) pace: Pace,
    pub(crate) ends: VecDeque<BuildEnd>,
}

impl Caches {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes a new cache in.
    pub(crate) fn insert(&mut self, cache: Cache) {
        let number = u64::try_from(self.made).unwrap_or(u64::MAX);
        self.made += 1;
        self.by_id.insert(cache.id.clone(), number);
        self.note(number, &cache);
        self.all.insert(number, cache);
    }

    pub(crate) fn number(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Cache> {
        self.all.get(&number)
    }

    /// The numbers of all caches with exactly this name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = u64> {
        self.by_name.get(name).into_iter().flatten().copied()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Cache)> {
        self.all.iter().map(|(number, cache)| (*number, cache))
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Cache> {
        let cache = self.all.remove(&number)?;
        self.by_id.remove(&cache.id);
        self.forget(number, &cache);
        Some(cache)
    }

    /// Changes a cache and keeps the books about it.
    pub(crate) fn change(&mut self, number: u64, change: impl FnOnce(&mut Cache)) {
        let Some(mut cache) = self.all.remove(&number) else {
            return;
        };
        self.forget(number, &cache);
        change(&mut cache);
        self.note(number, &cache);
        self.all.insert(number, cache);
    }

    fn note(&mut self, number: u64, cache: &Cache) {
        self.by_name.entry(cache.name.clone()).or_default().insert(number);
        if cache.builds() && !cache.hangs {
            self.running.insert((cache.since, number));
        }
        if let Some(at) = cache.expires {
            self.expiring.insert((at, number));
        }
    }

    fn forget(&mut self, number: u64, cache: &Cache) {
        if let Some(numbers) = self.by_name.get_mut(&cache.name) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_name.remove(&cache.name);
            }
        }
        self.running.remove(&(cache.since, number));
        if let Some(at) = cache.expires {
            self.expiring.remove(&(at, number));
        }
    }

    /// Lets time do its work up to `now`.
    pub(crate) fn tick(&mut self, now: Timestamp, mint: &mut Mint) {
        if let Pace::After { preparing, creating } = self.pace {
            let takes = preparing + creating;
            while let Some((since, number)) = self.running.first().copied().filter(|(since, _)| *since + takes <= now) {
                self.end(number, since + takes, mint);
            }
        }
        while let Some((_, number)) = self.expiring.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(number);
        }
    }

    /// Ends every build that does not hang.
    pub(crate) fn finish(&mut self, now: Timestamp, mint: &mut Mint) {
        while let Some((_, number)) = self.running.first().copied() {
            self.end(number, now, mint);
        }
    }

    fn end(&mut self, number: u64, at: Timestamp, mint: &mut Mint) {
        let end = self.ends.pop_front();
        self.change(number, |cache| cache.end(end, at, mint));
    }
}

/// How long a cache is not described after it was made.
pub(crate) fn is_visible(cache: &Cache, lag: Duration, now: Timestamp) -> bool {
    lag.is_zero() || cache.created + lag < now
}
