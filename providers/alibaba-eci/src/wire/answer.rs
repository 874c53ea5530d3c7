//! Answers. Whatever may be absent or odd in one cache must not hide the others, so every field has a default.

use imagecache_cloud_http::mark::Tag;
use imagecache_cloud_http::text::or_default;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Answer of `CreateImageCache`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreatedCache {
    pub(crate) image_cache_id: String,
    /// The build instance.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) container_group_id: String,
}

/// Answer of `UpdateImageCache` and `DeleteImageCache`: nothing that we need.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Acknowledged {}

/// One page of `DescribeImageCaches`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CachePage {
    /// Not optional: an answer without it is no empty list.
    pub(crate) image_caches: Vec<CacheEntry>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) next_token: String,
}

/// A cache as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CacheEntry {
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) snapshot_id: String,
    /// Temporary local snapshot of an instant cache.
    #[serde(deserialize_with = "or_default")]
    pub(crate) flash_snapshot_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: String,
    /// Percent text such as `100%`, of the lasting snapshot.
    #[serde(deserialize_with = "or_default")]
    pub(crate) progress: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) images: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) image_cache_size: u32,
    #[serde(deserialize_with = "time")]
    pub(crate) creation_time: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub(crate) expire_date_time: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tags: Vec<Tag>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) events: Vec<EntryEvent>,
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
    #[serde(deserialize_with = "or_default")]
    pub(crate) count: u32,
    #[serde(deserialize_with = "time")]
    pub(crate) first_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    pub(crate) last_timestamp: Option<Timestamp>,
}

/// Answer of `ListUsage`, as far as caches go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Usage {
    pub(crate) attributes: UsageAttributes,
}

/// Numbers of the account in the region.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UsageAttributes {
    pub(crate) used_image_cache_count: Option<u64>,
    pub(crate) max_image_cache_count: Option<u64>,
}

/// A time; a text that is none is left out.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}
