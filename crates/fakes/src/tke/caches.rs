//! The image caches of the account, and how time changes them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cloud::{BuildEnd, Entry, Mint, Pace};

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
pub struct Cache {
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
        matches!(self.stage, Stage::Pending | Stage::Updating)
    }

    fn goes_on(&self) -> bool {
        self.builds() && !self.hangs
    }

    /// Pending lasts as long as both steps.
    fn stage_end(&self, pace: Pace) -> Option<Timestamp> {
        let Pace::After { preparing, creating } = pace else {
            return None;
        };
        self.goes_on().then(|| self.since + preparing + creating)
    }

    fn is_decided(&self) -> bool {
        true
    }

    /// The build is over, one way or the other; instance and disk go away after what there is to tell.
    fn step(&mut self, end: Option<BuildEnd>, at: Timestamp, mint: &mut Mint) {
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

    fn show_as(&mut self, word: &str, now: Timestamp) {
        self.stage = Stage::of(word);
        self.since = now;
    }
}
