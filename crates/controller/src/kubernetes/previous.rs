//! What the status said before this pass, in no vendor's words.

use imagecache_core::{CacheEvent, CacheId, Progress};
use imagecache_k8s_api::{ImageCacheDialect, Memory, StatusEvent};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The parts of an earlier status that the next one depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Previous {
    pub(super) memory: Memory,
    pub(super) id: Option<CacheId>,
    pub(super) progress: Progress,
    pub(super) created_at: Option<Timestamp>,
    pub(super) updated_at: Option<Timestamp>,
    pub(super) events: Vec<CacheEvent>,
    pub(super) conditions: Vec<Condition>,
    /// It told of a problem.
    pub(super) had_problem: bool,
    /// A cache was being built to replace another.
    pub(super) was_replacing: bool,
}

impl Previous {
    /// Reads `status`.
    pub(super) fn of<K: ImageCacheDialect>(status: &K::Status) -> Self {
        let common = K::common(status);
        let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        let percent = common.progress.trim_end_matches('%').parse().unwrap_or(0);
        Self {
            memory: common.memory(),
            id: K::id(status).parse().ok(),
            progress: Progress::from_percent(percent),
            created_at: time(&common.start_time),
            updated_at: time(&common.last_updated_time),
            events: common.events.iter().filter_map(StatusEvent::to_core).collect(),
            conditions: common.conditions.clone(),
            had_problem: !common.reason.is_empty(),
            was_replacing: K::phase(status).starts_with("Updat"),
        }
    }

    /// The condition of this type.
    pub(super) fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}
