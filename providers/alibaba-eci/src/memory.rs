//! What this process did lately, cache by cache: it bridges the time until the service lists it.
//!
//! Nothing here has to survive a restart; see [`crate::ensure`].

use imagecache_cloud_http::Created;
use jiff::{SignedDuration, Timestamp};

/// How long a change may be missing from lists. Past it the list is believed.
pub(crate) const CONSISTENCY_WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// What was done lately, under every key.
pub(crate) type Memory = imagecache_cloud_http::Memory<Recent>;

/// What was done under one key.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Part of the token of the next call to create.
    pub(crate) generation: u32,
    /// The build that the next call to create begins, when it is not the first.
    pub(crate) attempt: Option<u32>,
    /// What the last call to create gave, until it is listed.
    pub(crate) created: Option<Created>,
    /// Since when the service says that the token stands for other parameters.
    pub(crate) mismatch_since: Option<Timestamp>,
}
