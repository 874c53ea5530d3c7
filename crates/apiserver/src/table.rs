//! Server-side tables: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::jsonpath;
use crate::object::{at, meta, name, text};
use crate::registry::{Column, Version};

/// What a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// The column definitions of a version.
pub(crate) fn header(version: &Version) -> Value {
    let mut columns = vec![json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace.",
    })];
    columns.extend(version.columns.iter().filter(|c| c.name != "Name" || c.path != ".metadata.name").map(|c| {
        let kind = match c.kind.as_str() {
            "count" | "ready" | "restarts" | "seen" | "involved" => "string",
            other => other,
        };
        json!({
            "name": c.name, "type": kind, "format": c.format, "description": c.description, "priority": c.priority,
        })
    }));
    columns.into()
}

/// A table of rows; without columns it continues an earlier one.
pub(crate) fn table(columns: Value, rows: Vec<Value>, meta: &Value) -> Value {
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows})
}

/// The row of one object: cells from the stored form, the object as the client sees it.
pub(crate) fn row(version: &Version, stored: &Value, shown: &Value, include: Include) -> Value {
    let mut cells = vec![Value::from(name(stored))];
    let columns = version
        .columns
        .iter()
        .filter(|c| c.name != "Name" || c.path != ".metadata.name");
    cells.extend(columns.map(|c| cell(c, stored)));
    let mut row = json!({"cells": cells});
    match include {
        Include::None => {}
        Include::Object => row["object"] = shown.clone(),
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": shown["metadata"],
            });
        }
    }
    row
}

fn cell(column: &Column, object: &Value) -> Value {
    match column.kind.as_str() {
        "count" => {
            let value = jsonpath::find(&column.path, object).first().copied();
            let count = value.map_or(0, |v| {
                v.as_object()
                    .map_or_else(|| v.as_array().map_or(0, Vec::len), |m| m.len())
            });
            count.into()
        }
        "ready" => {
            let of = |path: &[&str]| {
                at(object, path)
                    .and_then(Value::as_array)
                    .map_or(&[][..], Vec::as_slice)
            };
            let ready = of(&["status", "containerStatuses"])
                .iter()
                .filter(|c| c["ready"] == true)
                .count();
            format!("{ready}/{}", of(&["spec", "containers"]).len()).into()
        }
        "restarts" => {
            let list = at(object, &["status", "containerStatuses"]).and_then(Value::as_array);
            let count: i64 = list
                .into_iter()
                .flatten()
                .filter_map(|c| c["restartCount"].as_i64())
                .sum();
            count.to_string().into()
        }
        "seen" => {
            let last = ["lastTimestamp", "eventTime", "firstTimestamp"];
            let last = last.iter().map(|f| text(object, &[f])).find(|t| !t.is_empty());
            age(last.unwrap_or_else(|| meta(object, "creationTimestamp"))).into()
        }
        "involved" => {
            let of = |field: &str| text(object, &["involvedObject", field]);
            format!("{}/{}", of("kind").to_lowercase(), of("name")).into()
        }
        kind => {
            let found = jsonpath::find(&column.path, object);
            match (kind, found.as_slice()) {
                ("date", []) => Value::Null,
                (_, []) => Value::Null,
                ("date", [Value::String(time), ..]) => age(time).into(),
                ("string", [one]) if !one.is_string() && !one.is_null() => one.to_string().into(),
                ("string", [_, _, ..]) => {
                    let texts: Vec<String> = found
                        .iter()
                        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                        .collect();
                    texts.join(",").into()
                }
                (_, [one, ..]) => Value::clone(one),
            }
        }
    }
}

/// The time since, in the two largest useful units, as `kubectl` prints ages.
fn age(time: &str) -> String {
    let Ok(time) = time.parse::<Timestamp>() else {
        return "<invalid>".to_owned();
    };
    human((Timestamp::now() - time).get_seconds())
}

fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        let (n, rest) = (seconds / large, seconds % large / small);
        if rest == 0 {
            format!("{n}{large_unit}")
        } else {
            format!("{n}{large_unit}{rest}{small_unit}")
        }
    };
    match seconds {
        // Clocks differ a little.
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(DAY, "d", HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(YEAR, "y", DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn ages_read_like_kubectl() {
        let rows = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (30 * 3600, "30h"),
            (50 * 3600, "2d2h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
            (-5, "<invalid>"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }
}
