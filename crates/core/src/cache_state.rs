//! What a provider knows of a cache.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CacheId, CacheKey, CacheSpec, Digest, ErrorKind, ImageRef};

/// Newest events that a state keeps (Alibaba keeps as many).
pub const MAX_EVENTS: usize = 50;

/// Everything a provider can tell about one cache. Holds no secret, so it may be shown and stored as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheState {
    /// The key it was made under.
    pub key: CacheKey,
    /// The id that users see.
    pub id: CacheId,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Where it is in its life. As JSON: `"phase": "Ready"`, with why in `"detail"` where there is a reason.
    #[serde(flatten)]
    pub phase: Phase,
    /// How much of the build is done.
    pub progress: Progress,
    /// What the build does just now, for people, where there is more to say than a phase and a progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// The images, as asked for.
    pub images: Vec<ImageRef>,
    /// The images as they were found, in the same order; empty until they were resolved, or when the provider does not tell.
    #[serde(default)]
    pub resolved: Vec<CachedImage>,
    /// Size of the cache in GiB.
    pub size_gib: u32,
    /// Bytes that its content takes, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_bytes: Option<u64>,
    /// Id of the block snapshot, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// When this state last changed.
    pub updated_at: Timestamp,
    /// When it will be removed by itself; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What happened, oldest first, at most [`MAX_EVENTS`].
    #[serde(default)]
    pub events: Vec<CacheEvent>,
    /// Layers of the running build, in image order; empty where a provider does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerProgress>,
}

impl CacheState {
    /// The state of a cache that was asked for at `at` and of which nothing is known yet, under an id of our own.
    pub fn requested(key: &CacheKey, spec: &CacheSpec, at: Timestamp) -> Self {
        Self {
            key: key.clone(),
            id: CacheId::for_key(key),
            display_name: spec.display_name.clone(),
            phase: Phase::Pending,
            progress: Progress::ZERO,
            activity: None,
            images: spec.images.clone(),
            resolved: Vec::new(),
            size_gib: spec.size_gib,
            content_bytes: None,
            snapshot_id: None,
            created_at: at,
            updated_at: at,
            expires_at: spec.retention.expires_at(at, None),
            events: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// Adds an event, merging it with the last one of the same reason and message, and forgets the oldest beyond [`MAX_EVENTS`].
    pub fn push_event(&mut self, event: CacheEvent) {
        match self.events.last_mut() {
            Some(last) if last.reason == event.reason && last.message == event.message => {
                last.count = last.count.saturating_add(event.count);
                last.last_at = event.last_at;
            }
            _ => self.events.push(event),
        }
        let surplus = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..surplus);
    }
}

/// Where a cache is in its life.
///
/// ```text
/// Pending ─> Creating ─> Ready
///    └──────────┴──> Failed            terminal for this key; kept 24 h
///               └──> Stalled ─ensure─> Pending
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", content = "detail")]
pub enum Phase {
    /// Accepted; nothing is being written yet.
    Pending,
    /// Images are being fetched and written.
    Creating,
    /// Every byte was verified and is durable; usable.
    Ready,
    /// The build ended and will not be tried again under this key.
    Failed(Failure),
    /// The build stopped for a reason outside the spec: a killed process, a full disk, a registry that is down. Finished
    /// parts are kept and `ensure` goes on from there.
    Stalled(Failure),
    /// A state that the vendor calls by this name and we do not know: shown, never guessed.
    Unknown(String),
}

impl Phase {
    /// The stable name, for tables and metric labels; an unknown state is `Unknown` here.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Creating => "Creating",
            Self::Ready => "Ready",
            Self::Failed(_) => "Failed",
            Self::Stalled(_) => "Stalled",
            Self::Unknown(_) => "Unknown",
        }
    }

    /// Why it failed or stalled.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) | Self::Stalled(failure) => Some(failure),
            _ => None,
        }
    }
}

/// Shows an unknown state in the vendor's own word.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(raw) => f.write_str(raw),
            known => f.write_str(known.as_str()),
        }
    }
}

/// Why a build ended without a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose problem it is.
    pub kind: ErrorKind,
    /// One clear sentence: names the thing and says what to do.
    pub message: String,
}

/// Whole percent, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Progress(u8);

impl Progress {
    /// Nothing done.
    pub const ZERO: Self = Self(0);
    /// All done.
    pub const DONE: Self = Self(100);

    /// Takes a percentage; more than 100 is 100.
    pub fn from_percent(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// `done` of `total`, rounded down, so that 100 % is said only when all is done.
    pub fn of(done: u64, total: u64) -> Self {
        let percent = if total == 0 {
            0
        } else {
            u128::from(done.min(total)) * 100 / u128::from(total)
        };
        Self(u8::try_from(percent).unwrap_or(100))
    }

    /// The percentage.
    pub fn percent(self) -> u8 {
        self.0
    }
}

/// As both vendors write it: `42%`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

/// An image as it was found in its registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedImage {
    /// The reference that was resolved.
    pub reference: ImageRef,
    /// Digest of the manifest that the cache holds.
    pub manifest: Digest,
    /// Digest of the multi-platform index that named it, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
}

impl CachedImage {
    /// Whether `image` means this one: by digest when it has one, since that names the content, else by tag.
    pub fn answers(&self, image: &ImageRef) -> bool {
        let same = match image.digest() {
            Some(digest) => &self.manifest == digest || self.index.as_ref() == Some(digest),
            None => self.reference.tag() == image.tag(),
        };
        same && self.reference.name() == image.name()
    }
}

/// How serious an event is; the two that Kubernetes and both clouds know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventSeverity {
    /// Something went as it should.
    Normal,
    /// Somebody may have to act.
    Warning,
}

impl EventSeverity {
    /// `Normal` or `Warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that happened to a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEvent {
    /// How serious it is.
    pub severity: EventSeverity,
    /// CamelCase word from a small set.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// How often it happened in a row.
    pub count: u32,
    /// When it first happened.
    pub first_at: Timestamp,
    /// When it last happened.
    pub last_at: Timestamp,
}

impl CacheEvent {
    /// An event that happened once, at `at`.
    pub fn new(severity: EventSeverity, reason: impl Into<String>, message: impl Into<String>, at: Timestamp) -> Self {
        Self {
            severity,
            reason: reason.into(),
            message: message.into(),
            count: 1,
            first_at: at,
            last_at: at,
        }
    }
}

/// One layer of a running build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerProgress {
    /// Digest of the compressed layer.
    pub digest: Digest,
    /// Compressed size in bytes.
    pub total_bytes: u64,
    /// Compressed bytes read so far.
    pub done_bytes: u64,
    /// What is happening to it.
    pub stage: LayerStage,
}

/// What is happening to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerStage {
    /// Its turn has not come.
    Waiting,
    /// It is being downloaded, verified and written, all at once.
    Fetching,
    /// It is verified and durable.
    Done,
    /// It was there already; nothing was downloaded.
    Reused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_100_only_when_done() {
        for (done, total, expected) in [
            (0, 0, "0%"),
            (0, 10, "0%"),
            (999, 1000, "99%"),
            (1000, 1000, "100%"),
            (u64::MAX, 3, "100%"),
        ] {
            assert_eq!(Progress::of(done, total).to_string(), expected, "{done} of {total}");
        }
    }

    fn state() -> CacheState {
        let spec = CacheSpec::new(vec!["nginx".parse().unwrap()]);
        CacheState::requested(&CacheKey::new("owner", &spec), &spec, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_phase_is_a_word_in_json() {
        let failure = Failure {
            kind: ErrorKind::NotFound,
            message: "gone".to_owned(),
        };
        for (phase, word) in [
            (Phase::Ready, "Ready"),
            (Phase::Failed(failure), "Failed"),
            (Phase::Unknown("Odd".to_owned()), "Unknown"),
        ] {
            let state = CacheState { phase, ..state() };
            let json = serde_json::to_value(&state).unwrap();
            assert_eq!(json.get("phase").unwrap(), word);
            assert_eq!(serde_json::from_value::<CacheState>(json).unwrap(), state);
        }
    }

    #[test]
    fn equal_events_are_counted_and_old_ones_forgotten() {
        let at = Timestamp::UNIX_EPOCH;
        let mut state = state();
        for _ in 0..3 {
            state.push_event(CacheEvent::new(EventSeverity::Warning, "Same", "m", at));
        }
        assert_eq!((state.events.len(), state.events.first().unwrap().count), (1, 3));
        for n in 0..100 {
            state.push_event(CacheEvent::new(EventSeverity::Normal, "N", n.to_string(), at));
        }
        assert_eq!(state.events.len(), MAX_EVENTS);
        assert_eq!(state.events.last().unwrap().message, "99");
    }
}
