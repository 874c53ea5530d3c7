//! The image caches of the account, and how time changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cloud::{BuildEnd, Mint, Pace};

const KEPT_EVENTS: usize = 50;
/// How long a failed cache is kept.
const FAILED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How far the standard snapshot of an instant cache is when the cache becomes usable.
const FLASH_PROGRESS: u64 = 40;

/// One event of a build.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) name: String,
    pub(crate) at: Timestamp,
}

/// Where a cache stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Preparing,
    Creating,
    Ready,
    Failed,
    Updating,
    UpdateFailed,
    /// Set by a test.
    Word(String),
}

impl Stage {
    pub(crate) fn of(word: &str) -> Self {
        let known = [
            Self::Preparing,
            Self::Creating,
            Self::Ready,
            Self::Failed,
            Self::Updating,
            Self::UpdateFailed,
        ];
        let found = known.into_iter().find(|stage| stage.as_str() == word);
        found.unwrap_or_else(|| Self::Word(word.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Preparing => "Preparing",
            Self::Creating => "Creating",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Updating => "Updating",
            Self::UpdateFailed => "UpdateFailed",
            Self::Word(word) => word,
        }
    }
}

/// One image cache.
pub(crate) struct Cache {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) container_group: String,
    pub(crate) images: Vec<String>,
    pub(crate) size: i32,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) resource_group: Option<String>,
    pub(crate) retention_days: Option<i32>,
    pub(crate) elimination: Option<String>,
    pub(crate) flash: bool,
    pub(crate) eip: Option<String>,
    pub(crate) created: Timestamp,
    /// All parameters of the call that made it.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) stage: Stage,
    /// When the stage was reached.
    pub(crate) since: Timestamp,
    /// The standard snapshot of an instant cache is still being made.
    pub(crate) copying: bool,
    pub(crate) hangs: bool,
    pub(crate) snapshot: Option<String>,
    pub(crate) flash_snapshot: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) last_matched: Option<Timestamp>,
    pub(crate) events: VecDeque<Event>,
}

impl Cache {
    /// Whether its build instance runs.
    pub(crate) fn builds(&self) -> bool {
        matches!(self.stage, Stage::Preparing | Stage::Creating | Stage::Updating)
    }

    /// Percent of the standard snapshot.
    pub(crate) fn progress(&self, now: Timestamp, pace: Pace) -> u64 {
        let part = |from: u64, to: u64| {
            let Pace::After { creating, .. } = pace else {
                return from;
            };
            let whole = creating.as_millis().max(1);
            let passed = u128::try_from(now.duration_since(self.since).as_millis()).unwrap_or(0);
            let share = u64::try_from(passed.min(whole) * u128::from(to - from) / whole).unwrap_or(0);
            from + share
        };
        match &self.stage {
            Stage::Creating => part(5, 99),
            Stage::Updating => part(10, 99),
            Stage::Ready if self.copying => part(FLASH_PROGRESS, 99),
            Stage::Ready => 100,
            _ => 0,
        }
    }

    fn pulled(&mut self, at: Timestamp) {
        for image in self.images.clone() {
            self.event(false, "Pulled", format!("Successfully pulled image {image}"), at);
        }
    }

    fn event(&mut self, warning: bool, reason: &str, message: String, at: Timestamp) {
        self.events.push_back(Event {
            warning,
            reason: reason.to_owned(),
            message,
            name: format!("{}.{:016x}", self.name, at.as_nanosecond()),
            at,
        });
        while self.events.len() > KEPT_EVENTS {
            self.events.pop_front();
        }
    }
}

/// All caches, newest last.
#[derive(Default)]
pub(crate) struct Caches {
    all: BTreeMap<u64, Cache>,
    by_id: HashMap<String, u64>,
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

impl Caches {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.due = self
            .running
            .iter()
            .filter_map(|number| Some((stage_end(self.all.get(number)?, pace)?, *number)))
            .collect();
    }

    /// Takes a new cache in; its build starts now.
    pub(crate) fn insert(&mut self, mut cache: Cache) {
        let number = u64::try_from(self.made).unwrap_or(u64::MAX);
        self.made += 1;
        cache.event(
            false,
            "Started",
            "Successfully check image cache resource.".to_owned(),
            cache.created,
        );
        cache.event(false, "Pulling", "start to pull images".to_owned(), cache.created);
        self.by_id.insert(cache.id.clone(), number);
        self.all.insert(number, cache);
        self.index(number);
    }

    pub(crate) fn number(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Cache> {
        self.all.get(self.by_id.get(id)?)
    }

    /// Newest first, those before `below`.
    pub(crate) fn newest(&self, below: u64) -> impl Iterator<Item = (u64, &Cache)> {
        self.all.range(..below).rev().map(|(number, cache)| (*number, cache))
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Cache> {
        let number = self.by_id.remove(id)?;
        self.unindex(number);
        self.all.remove(&number)
    }

    /// Changes a cache and keeps the books about it.
    pub(crate) fn change(&mut self, number: u64, change: impl FnOnce(&mut Cache)) {
        self.unindex(number);
        if let Some(cache) = self.all.get_mut(&number) {
            change(cache);
        }
        self.index(number);
    }

    fn index(&mut self, number: u64) {
        let Some(cache) = self.all.get(&number) else { return };
        if (cache.builds() || cache.copying) && !cache.hangs {
            self.running.insert(number);
        }
        if let Some(at) = stage_end(cache, self.pace) {
            self.due.insert((at, number));
        }
        if let Some(at) = cache.expires {
            self.expiring.insert((at, number));
        }
    }

    fn unindex(&mut self, number: u64) {
        let Some(cache) = self.all.get(&number) else { return };
        self.running.remove(&number);
        if let Some(at) = stage_end(cache, self.pace) {
            self.due.remove(&(at, number));
        }
        if let Some(at) = cache.expires {
            self.expiring.remove(&(at, number));
        }
    }

    /// Lets time do its work up to `now`.
    pub(crate) fn tick(&mut self, now: Timestamp, mint: &mut Mint) {
        while let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.advance(number, at, mint);
        }
        while let Some((at, number)) = self.expiring.first().copied().filter(|(at, _)| *at <= now) {
            self.expiring.remove(&(at, number));
            if let Some(id) = self.all.get(&number).map(|cache| cache.id.clone()) {
                self.remove(&id);
            }
        }
    }

    /// Ends every build that does not hang; the copies of instant caches end the time after.
    pub(crate) fn finish(&mut self, now: Timestamp, mint: &mut Mint) {
        for number in self.running.clone() {
            self.advance(number, now, mint);
            while self
                .all
                .get(&number)
                .is_some_and(|cache| cache.builds() && !cache.hangs)
            {
                self.advance(number, now, mint);
            }
        }
    }

    /// One step on for one cache.
    fn advance(&mut self, number: u64, at: Timestamp, mint: &mut Mint) {
        let stage = self.all.get(&number).map(|cache| &cache.stage);
        let end = match stage {
            Some(Stage::Preparing | Stage::Updating) => self.ends.pop_front(),
            _ => None,
        };
        let snapshot = format!("s-2ze{}", mint.hex(17));
        self.change(number, |cache| step(cache, end, at, snapshot));
    }
}

/// When the stage of a cache ends by itself.
fn stage_end(cache: &Cache, pace: Pace) -> Option<Timestamp> {
    let Pace::After { preparing, creating } = pace else {
        return None;
    };
    let takes = match cache.stage {
        _ if cache.hangs => return None,
        Stage::Preparing => preparing,
        Stage::Creating if cache.flash => creating / 2,
        Stage::Ready if cache.copying => creating / 2,
        Stage::Creating | Stage::Updating => creating,
        _ => return None,
    };
    Some(cache.since + takes)
}

fn step(cache: &mut Cache, end: Option<BuildEnd>, at: Timestamp, snapshot: String) {
    if end == Some(BuildEnd::Hangs) {
        cache.hangs = true;
        return;
    }
    cache.since = at;
    match (&cache.stage, end) {
        (Stage::Updating, Some(BuildEnd::Failed { reason, message })) => {
            cache.event(true, &reason, message, at);
            cache.stage = Stage::UpdateFailed;
        }
        (_, Some(BuildEnd::Failed { reason, message })) => {
            cache.event(true, &reason, message, at);
            cache.stage = Stage::Failed;
            cache.expires = Some(at + FAILED_FOR);
        }
        (Stage::Preparing, _) => {
            cache.pulled(at);
            cache.stage = Stage::Creating;
            if cache.flash {
                cache.flash_snapshot = Some(format!("{snapshot}-flash"));
            }
            cache.snapshot = Some(snapshot);
        }
        (Stage::Creating, _) => {
            cache.stage = Stage::Ready;
            cache.copying = cache.flash;
        }
        (Stage::Updating, _) => {
            cache.pulled(at);
            cache.stage = Stage::Ready;
            cache.snapshot = Some(snapshot);
        }
        _ => {
            cache.copying = false;
            cache.flash_snapshot = None;
        }
    }
}

/// Creation plus whole days.
pub(crate) fn days_after(at: Timestamp, days: i32) -> Timestamp {
    at + SignedDuration::from_hours(i64::from(days) * 24)
}
