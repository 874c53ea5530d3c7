//! What this process did lately, cache by cache: it bridges the time until the service lists it.
//!
//! Nothing here has to survive a restart; see [`crate::ensure`].

use imagecache_cloud_http::Created;
use jiff::Timestamp;

/// What was done lately, under every key.
pub(crate) type Memory = imagecache_cloud_http::Memory<Recent>;

/// What was done under one key.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The build that the next call to create begins, when it is not the first.
    pub(crate) attempt: Option<u32>,
    /// What the last call to create gave, until it is listed.
    pub(crate) created: Option<Created>,
    /// Since when a call to create may have been done without our knowing.
    pub(crate) unanswered_since: Option<Timestamp>,
}
