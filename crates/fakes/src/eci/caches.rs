//! The image caches of the account, and how time changes them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cloud::{BuildEnd, Entry, Mint, Pace};

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
pub struct Cache {
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
    /// A cache whose build starts now.
    pub(crate) fn new(name: String, images: Vec<String>, size: i32, now: Timestamp, mint: &mut Mint) -> Self {
        let mut cache = Self {
            id: format!("imc-2ze{}", mint.hex(17)),
            name,
            container_group: format!("eci-2ze{}", mint.hex(17)),
            images,
            size,
            tags: Vec::new(),
            resource_group: None,
            retention_days: None,
            elimination: None,
            flash: false,
            eip: None,
            created: now,
            parameters: BTreeMap::new(),
            stage: Stage::Preparing,
            since: now,
            copying: false,
            hangs: false,
            snapshot: None,
            flash_snapshot: None,
            expires: None,
            last_matched: None,
            events: VecDeque::new(),
        };
        let checked = "Successfully check image cache resource.";
        cache.event(false, "Started", checked.to_owned(), now);
        cache.event(false, "Pulling", "start to pull images".to_owned(), now);
        cache
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

impl Entry for Cache {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn created(&self) -> Timestamp {
        self.created
    }

    fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    fn builds(&self) -> bool {
        matches!(self.stage, Stage::Preparing | Stage::Creating | Stage::Updating)
    }

    fn goes_on(&self) -> bool {
        (self.builds() || self.copying) && !self.hangs
    }

    fn stage_end(&self, pace: Pace) -> Option<Timestamp> {
        let Pace::After { preparing, creating } = pace else {
            return None;
        };
        let takes = match self.stage {
            _ if self.hangs => return None,
            Stage::Preparing => preparing,
            Stage::Creating if self.flash => creating / 2,
            Stage::Ready if self.copying => creating / 2,
            Stage::Creating | Stage::Updating => creating,
            _ => return None,
        };
        Some(self.since + takes)
    }

    fn is_decided(&self) -> bool {
        matches!(self.stage, Stage::Preparing | Stage::Updating)
    }

    fn step(&mut self, end: Option<BuildEnd>, at: Timestamp, mint: &mut Mint) {
        if end == Some(BuildEnd::Hangs) {
            self.hangs = true;
            return;
        }
        self.since = at;
        let snapshot = format!("s-2ze{}", mint.hex(17));
        match (&self.stage, end) {
            (Stage::Updating, Some(BuildEnd::Failed { reason, message })) => {
                self.event(true, &reason, message, at);
                self.stage = Stage::UpdateFailed;
            }
            (_, Some(BuildEnd::Failed { reason, message })) => {
                self.event(true, &reason, message, at);
                self.stage = Stage::Failed;
                self.expires = Some(at + FAILED_FOR);
            }
            (Stage::Preparing, _) => {
                self.pulled(at);
                self.stage = Stage::Creating;
                if self.flash {
                    self.flash_snapshot = Some(format!("{snapshot}-flash"));
                }
                self.snapshot = Some(snapshot);
            }
            (Stage::Creating, _) => {
                self.stage = Stage::Ready;
                self.copying = self.flash;
            }
            (Stage::Updating, _) => {
                self.pulled(at);
                self.stage = Stage::Ready;
                self.snapshot = Some(snapshot);
            }
            _ => {
                self.copying = false;
                self.flash_snapshot = None;
            }
        }
    }

    fn show_as(&mut self, word: &str, now: Timestamp) {
        self.stage = Stage::of(word);
        self.since = now;
    }
}

/// Creation plus whole days.
pub(crate) fn days_after(at: Timestamp, days: i32) -> Timestamp {
    at + SignedDuration::from_hours(i64::from(days) * 24)
}
