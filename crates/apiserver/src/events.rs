//! Events are one resource with two faces: stored as `core/v1`, also served as `events.k8s.io/v1`.

use serde_json::{Map, Value};

use crate::object::{map_mut, now};

/// (core field, events.k8s.io field)
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];

/// The `events.k8s.io/v1` face of a stored event.
pub(crate) fn to_new(mut stored: Value) -> Value {
    rename(map_mut(&mut stored), |(core, new)| (core, new));
    stored["apiVersion"] = "events.k8s.io/v1".into();
    stored
}

/// The stored form of an `events.k8s.io/v1` event.
pub(crate) fn from_new(mut sent: Value) -> Value {
    rename(map_mut(&mut sent), |(core, new)| (new, core));
    sent["apiVersion"] = "v1".into();
    sent
}

fn rename(
    map: &mut Map<String, Value>,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    for pair in FIELDS {
        let (from, to) = direction(*pair);
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

/// Fills what the table and `kubectl describe` read but newer recorders leave out.
pub(crate) fn default(event: &mut Value) {
    let map = map_mut(event);
    map.entry("type").or_insert_with(|| "Normal".into());
    if map.get("eventTime").is_none_or(Value::is_null) && map.get("lastTimestamp").is_none_or(Value::is_null) {
        let now = now();
        map.entry("firstTimestamp").or_insert_with(|| now.clone().into());
        map.insert("lastTimestamp".to_owned(), now.into());
    }
}
