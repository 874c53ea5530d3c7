//! How caches and times look in answers. The published samples do not agree with each other, so neither do these.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::caches::{Cache, Happening};

const CHINA: Offset = Offset::constant(8);
/// What "never" is in the newer samples: a hundred years, as whole days.
const NEVER: SignedDuration = SignedDuration::from_hours(36_525 * 24);

/// Which of the published samples a cache looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Every cache looks like another sample.
    #[default]
    Mixed,
    /// The answer of 2021: times without a zone (the creation in China's, events in UTC), newest event first, few fields.
    Old,
    /// The answer of 2026: times as Go prints them, every field, credentials too.
    New,
    /// The samples that stand beside the fields: RFC 3339, and milliseconds in events.
    Fields,
}

impl Shape {
    fn of(self, number: u64) -> Self {
        match (self, number % 3) {
            (Self::Mixed, 0) => Self::New,
            (Self::Mixed, 1) => Self::Old,
            (Self::Mixed, _) => Self::Fields,
            (fixed, _) => fixed,
        }
    }

    fn created(self, at: Timestamp) -> String {
        match self {
            Self::Old => bare(at, CHINA),
            Self::Fields => rfc3339(at),
            _ => go(at),
        }
    }

    fn expires(self, cache: &Cache) -> String {
        let at = cache.expires.unwrap_or(cache.created + NEVER);
        match self {
            Self::Old => cache.expires.map(|at| bare(at, CHINA)).unwrap_or_default(),
            Self::Fields => rfc3339(at),
            _ => go(at),
        }
    }

    fn matched(self, at: Timestamp) -> String {
        match self {
            Self::Old => bare(at, CHINA),
            Self::Fields => rfc3339(at),
            _ => go_here(at),
        }
    }

    fn event_time(self, at: Timestamp) -> String {
        match self {
            Self::Old => bare(at, Offset::UTC),
            Self::Fields => at.as_millisecond().to_string(),
            _ => go(at),
        }
    }

    /// Reason and message, with whether it is a warning; the old sample says nothing about what is deleted.
    fn event(self, cache: &Cache, happening: &Happening) -> Option<(bool, String, String)> {
        let Cache { disk, instance, .. } = cache;
        let snapshot = cache.snapshot.as_deref().unwrap_or_default();
        let old = self == Self::Old;
        let (reason, message) = match happening {
            Happening::Warning(reason, message) => return Some((true, reason.clone(), message.clone())),
            Happening::DiskCreated if old => ("DiskCreated", format!("Disk {disk} created")),
            Happening::InstanceCreated if old => ("EksciCreated", format!("Eksci {instance} created")),
            Happening::SnapshotCreated if old => ("SnapCreated", format!("Snap {snapshot} created")),
            Happening::InstanceDeleted | Happening::DiskDeleted if old => return None,
            Happening::DiskCreated => ("DiskCreated", format!("create disk {disk} successfully")),
            Happening::InstanceCreated => ("EksCiCreated", format!("create EksCi {instance} successfully")),
            Happening::SnapshotCreated => ("SnapCreated", format!("create snapshot {snapshot} successfully")),
            Happening::InstanceDeleted => ("EksCiDeleted", format!("delete EksCi {instance} successfully")),
            Happening::DiskDeleted => ("DiskDeleted", format!("delete disk {disk} successfully")),
        };
        Some((false, reason.to_owned(), message))
    }
}

/// A cache as `shape` shows it.
pub(crate) fn cache(shape: Shape, number: u64, cache: &Cache) -> Value {
    let shape = shape.of(number);
    let mut events: Vec<Value> = Vec::new();
    for (at, happening) in &cache.events {
        let Some((warning, reason, message)) = shape.event(cache, happening) else {
            continue;
        };
        events.push(json!({
            "ImageCacheId": cache.id,
            "Type": if warning { "Warning" } else { "Normal" },
            "Reason": reason,
            "Message": message,
            "FirstTimestamp": shape.event_time(*at),
            "LastTimestamp": shape.event_time(*at),
        }));
    }
    if shape == Shape::Old {
        events.reverse();
    }
    let tags: Vec<Value> = cache
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("ImageCacheId", json!(cache.id));
    put("ImageCacheName", json!(cache.name));
    put("ImageCacheSize", json!(cache.size));
    put("Images", json!(cache.images));
    put("CreationTime", json!(shape.created(cache.created)));
    put("ExpireDateTime", json!(shape.expires(cache)));
    put("Events", json!(events));
    put(
        "LastMatchedTime",
        json!(cache.last_matched.map(|at| shape.matched(at)).unwrap_or_default()),
    );
    put("SnapshotId", json!(cache.snapshot.as_deref().unwrap_or_default()));
    put("Status", json!(cache.stage.as_str()));
    if shape != Shape::Old || !tags.is_empty() {
        put("Tags", json!(tags));
    }
    if shape != Shape::Old {
        put("RetentionDays", json!(cache.retention_days));
        put("ImageRegistryCredentials", json!(cache.credentials));
        put("ImageCacheType", json!(cache.kind));
        put("Snapshotter", json!("overlay"));
    }
    if shape == Shape::Fields {
        put("FieldOfTheNextRelease", json!({"Since": null}));
    }
    Value::Object(fields)
}

/// The messages of a cache's events, oldest first.
pub(crate) fn messages(shape: Shape, number: u64, cache: &Cache) -> Vec<String> {
    let shape = shape.of(number);
    let events = cache.events.iter();
    events
        .filter_map(|(_, happening)| shape.event(cache, happening).map(|(_, _, message)| message))
        .collect()
}

/// `2021-12-06 22:52:24`
fn bare(at: Timestamp, offset: Offset) -> String {
    at.to_zoned(TimeZone::fixed(offset))
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// `2026-03-30 07:03:35 +0000 UTC`
fn go(at: Timestamp) -> String {
    format!("{} +0000 UTC", bare(at, Offset::UTC))
}

/// `2026-03-30 17:07:11.389402882 +0800 CST m=+893.262707991`
fn go_here(at: Timestamp) -> String {
    let nanoseconds = at.subsec_nanosecond();
    format!("{}.{nanoseconds:09} +0800 CST m=+893.262707991", bare(at, CHINA))
}

/// `2024-01-01T00:00:00Z`
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
