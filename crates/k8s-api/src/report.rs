//! What the controller wants to tell about an object, in no vendor's words.

use imagecache_core::{CacheEvent, CacheId, CacheKey, Failure, Progress};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Everything that a status shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where the object stands.
    pub phase: ReportPhase,
    /// How much of the build is done.
    pub progress: Progress,
    /// Why it is not Ready, when something is wrong.
    pub problem: Option<Failure>,
    /// Id of the cache that pods may use, or that is being built when there is none yet.
    pub id: Option<CacheId>,
    /// Its block snapshot.
    pub snapshot_id: Option<String>,
    /// When it was first asked for.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// When it will be removed by itself.
    pub expires_at: Option<Timestamp>,
    /// What happened, oldest first.
    pub events: Vec<CacheEvent>,
    /// Standard conditions.
    pub conditions: Vec<Condition>,
    /// What keeping and using the cache costs, one sentence; only where prices are configured.
    pub cost: Option<String>,
    /// Generation of the spec that all this is about.
    pub observed_generation: Option<i64>,
    /// What the controller must find again after a restart.
    pub memory: Memory,
}

/// Where an object stands; each dialect has its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportPhase {
    /// Accepted, or waiting for something that may pass.
    Pending,
    /// Images are being fetched and written.
    Creating,
    /// Usable.
    Ready,
    /// Somebody has to act.
    Failed,
    /// The spec changed: the previous cache serves until the new one is Ready.
    Updating,
    /// The spec changed and its cache cannot be built; the previous one still serves.
    UpdateFailed,
    /// It lived as long as it was asked to and was removed.
    Expired,
    /// The provider's own word, shown as it is.
    Unknown(String),
}

/// What the controller writes into the status for itself, so that nothing is lost by a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Key of the cache that the object uses.
    pub cache_key: Option<CacheKey>,
    /// Keys of further caches that may exist because of this object: being built to replace it, or to be removed.
    pub other_keys: Vec<CacheKey>,
    /// When the cache under `cache_key` was going to expire, to the second.
    pub expires_at: Option<Timestamp>,
    /// When a pod last got one of the object's caches, to the second.
    pub last_matched_at: Option<Timestamp>,
}
