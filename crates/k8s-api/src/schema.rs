//! The part of the status that both dialects share: its schema and wire form.

use imagecache_core::{CacheEvent, CacheId, EventSeverity, MAX_EVENTS};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Memory, Report};

/// How both vendors print a time.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// One event of a cache in the status, in the fields that both published editions have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusEvent {
    /// Name of the event, unique within the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Why it happened, one CamelCase word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What happened, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it last happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timestamp: String,
    /// How often it happened in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub count: i64,
    /// When it first happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first_timestamp: String,
    /// When it last happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_timestamp: String,
}

/// The fields that both statuses have: the vendors' where they agree, and what the controller adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CommonStatus {
    /// How much of the build is done, for example `100%`.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Why it is not Ready, one CamelCase word.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is wrong and what to do, for people.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Id of the block snapshot.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub snapshot_id: String,
    /// When the cache was asked for.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When its state last changed.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub last_updated_time: Option<String>,
    /// When it will be removed by itself.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub expire_date_time: Option<String>,
    /// When a pod last got the cache, within a few minutes.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub last_matched_time: Option<String>,
    /// What happened, oldest first, at most 50.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<StatusEvent>,
    /// Standard conditions: Ready and Progressing.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// What keeping and using the cache costs by the configured prices, for people.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<String>,
    /// Generation of the spec that this status is about.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Key under which the provider keeps the cache.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// Keys of further caches of this object: being built to replace it, or about to be removed.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub other_cache_keys: Vec<String>,
}

impl CommonStatus {
    /// What the controller wrote down for itself; what does not parse was not written by it.
    pub fn memory(&self) -> Memory {
        Memory {
            cache_key: self.cache_key.as_ref().and_then(|key| key.parse().ok()),
            other_keys: self
                .other_cache_keys
                .iter()
                .filter_map(|key| key.parse().ok())
                .collect(),
            expires_at: self.expire_date_time.as_ref().and_then(|text| text.parse().ok()),
            last_matched_at: self.last_matched(),
        }
    }

    /// When a pod last got the cache.
    pub fn last_matched(&self) -> Option<Timestamp> {
        self.last_matched_time.as_ref().and_then(|text| text.parse().ok())
    }

    pub(crate) fn render(report: &Report) -> Self {
        let problem = report.problem.as_ref();
        Self {
            progress: report.progress.to_string(),
            reason: problem
                .map(|problem| problem.kind.reason().to_owned())
                .unwrap_or_default(),
            message: problem.map(|problem| problem.message.clone()).unwrap_or_default(),
            snapshot_id: report.snapshot_id.clone().unwrap_or_default(),
            start_time: report.created_at.map(time),
            last_updated_time: report.updated_at.map(time),
            expire_date_time: report.expires_at.map(time),
            last_matched_time: report.memory.last_matched_at.map(time),
            events: status_events(report.id.as_ref(), &report.events),
            conditions: report.conditions.clone(),
            estimated_cost: report.cost.clone(),
            observed_generation: report.observed_generation,
            cache_key: report.memory.cache_key.as_ref().map(ToString::to_string),
            other_cache_keys: report.memory.other_keys.iter().map(ToString::to_string).collect(),
        }
    }
}

fn is_zero(count: &i64) -> bool {
    *count == 0
}

impl StatusEvent {
    /// The event in core terms; `None` when its times are not times.
    pub fn to_core(&self) -> Option<CacheEvent> {
        Some(CacheEvent {
            severity: if self.type_ == EventSeverity::Warning.as_str() {
                EventSeverity::Warning
            } else {
                EventSeverity::Normal
            },
            reason: self.reason.clone(),
            message: self.message.clone(),
            count: u32::try_from(self.count).unwrap_or(1),
            first_at: self.first_timestamp.parse().ok()?,
            last_at: self.last_timestamp.parse().ok()?,
        })
    }

    fn new(owner: &str, event: &CacheEvent) -> Self {
        Self {
            // Kubernetes names its own events so: the object and the time in hexadecimal.
            name: format!("{owner}.{:x}", event.first_at.as_nanosecond()),
            type_: event.severity.as_str().to_owned(),
            reason: event.reason.clone(),
            message: event.message.clone(),
            timestamp: time(event.last_at),
            count: i64::from(event.count),
            first_timestamp: time(event.first_at),
            last_timestamp: time(event.last_at),
        }
    }
}

/// The newest events that a status keeps.
fn status_events(id: Option<&CacheId>, events: &[CacheEvent]) -> Vec<StatusEvent> {
    let owner = id.map_or("imagecache", CacheId::as_str);
    let surplus = events.len().saturating_sub(MAX_EVENTS);
    events
        .iter()
        .skip(surplus)
        .map(|event| StatusEvent::new(owner, event))
        .collect()
}

/// A time as the vendors print it: UTC, whole seconds.
fn time(at: Timestamp) -> String {
    at.strftime(TIME_FORMAT).to_string()
}

/// Reads a field of another edition as absent: one odd object must not stop the watch of all others.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Conditions as a list with one entry for each type.
fn conditions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": generator.subschema_for::<Condition>(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
