//! Answers. Whatever may be absent or odd in one cache must not hide the others, so every field has a default.

use imagecache_cloud_http::mark::Tag;
use imagecache_cloud_http::text::or_default;
use serde::Deserialize;

use super::time::{self, Moment};

/// Answer of `CreateImageCache`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreatedCache {
    pub(crate) image_cache_id: String,
}

/// Answer of `UpdateImageCache` and `DeleteImageCaches`: nothing that we need.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Acknowledged {}

/// One page of `DescribeImageCaches`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CachePage {
    /// Not optional: an answer without it is no empty list.
    pub(crate) image_caches: Vec<CacheEntry>,
    /// How many there are on all pages.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) total_count: u64,
}

/// Answer of `GetMostSuitableImageCache`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Suitable {
    pub(crate) found: bool,
    #[serde(default)]
    pub(crate) image_cache: Option<CacheEntry>,
}

/// A cache as it is listed. The registry logins that the service may give back are not read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CacheEntry {
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_id: String,
    /// Empty for automatic caches.
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) snapshot_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) images: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_size: u32,
    /// Absent in older answers; 0 is for ever.
    pub(crate) retention_days: Option<u32>,
    #[serde(deserialize_with = "time::lenient")]
    pub(crate) creation_time: Option<Moment>,
    #[serde(deserialize_with = "time::lenient")]
    pub(crate) expire_date_time: Option<Moment>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tags: Vec<Tag>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) events: Vec<EntryEvent>,
    /// `manual`, or `auto` for what the service made by itself.
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_type: String,
}

/// Something that happened to a cache.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EntryEvent {
    /// `Normal` or `Warning`.
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub(crate) severity: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) reason: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) message: String,
    #[serde(deserialize_with = "time::lenient")]
    pub(crate) first_timestamp: Option<Moment>,
    #[serde(deserialize_with = "time::lenient")]
    pub(crate) last_timestamp: Option<Moment>,
}
