//! A JSON patch (RFC 6902) that sets annotations and labels and touches nothing else.

use std::collections::BTreeMap;

use imagecache_k8s_api::Effects;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// One step of a JSON patch. `add` also replaces what is there (RFC 6902, section 4.1).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Operation {
    op: &'static str,
    path: String,
    value: Value,
}

impl Operation {
    /// Sets the value at a path, whose last part may be new.
    pub(super) fn add(path: &[&str], value: Value) -> Self {
        let path = path.iter().map(|part| format!("/{}", escaped(part)));
        Self {
            op: "add",
            path: path.collect(),
            value,
        }
    }
}

/// A map whose values are read when they are needed. A struct would also be read from a list, which no pointer leads into.
type RawMap<'a> = BTreeMap<String, &'a RawValue>;

/// The steps that make `object` have what is wanted; none when it has. `None` when the object is not shaped as objects are.
pub(super) fn patch(object: &str, wanted: &Effects) -> Option<Vec<Operation>> {
    if wanted.is_empty() {
        return Some(Vec::new());
    }
    let object: RawMap<'_> = serde_json::from_str(object).ok()?;
    let metadata: RawMap<'_> = serde_json::from_str(object.get("metadata")?.get()).ok()?;
    let mut steps = Vec::new();
    for (map, wanted) in [("annotations", &wanted.annotations), ("labels", &wanted.labels)] {
        let present = metadata.get(map).map_or("null", |raw| raw.get());
        set(map, serde_json::from_str(present).ok()?, wanted, &mut steps);
    }
    Some(steps)
}

fn set(
    map: &str,
    present: Option<BTreeMap<String, Value>>,
    wanted: &BTreeMap<String, String>,
    steps: &mut Vec<Operation>,
) {
    match present {
        _ if wanted.is_empty() => {}
        None => steps.push(Operation::add(&["metadata", map], json!(wanted))),
        Some(present) => {
            let missing = wanted
                .iter()
                .filter(|(name, value)| present.get(*name).and_then(Value::as_str) != Some(value));
            steps.extend(missing.map(|(name, value)| Operation::add(&["metadata", map, name], json!(value))));
        }
    }
}

/// A part of a JSON pointer (RFC 6901, section 3).
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let wanted = |annotations: &[(&str, &str)], labels: &[(&str, &str)]| {
            let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Effects {
                annotations: map(annotations),
                labels: map(labels),
            }
        };
        let one = wanted(&[("a.b/c~d", "x")], &[]);
        let rows = [
            (
                "no map",
                json!({ "metadata": {} }),
                &one,
                json!([{ "op": "add", "path": "/metadata/annotations", "value": { "a.b/c~d": "x" } }]),
            ),
            (
                "null",
                json!({ "metadata": { "annotations": null } }),
                &one,
                json!([{ "op": "add", "path": "/metadata/annotations", "value": { "a.b/c~d": "x" } }]),
            ),
            (
                "another key",
                json!({ "metadata": { "annotations": { "k": "v" } } }),
                &one,
                json!([{ "op": "add", "path": "/metadata/annotations/a.b~1c~0d", "value": "x" }]),
            ),
            (
                "another value",
                json!({ "metadata": { "annotations": { "a.b/c~d": "y" } } }),
                &one,
                json!([{ "op": "add", "path": "/metadata/annotations/a.b~1c~0d", "value": "x" }]),
            ),
            (
                "there already",
                json!({ "metadata": { "annotations": { "a.b/c~d": "x" } } }),
                &one,
                json!([]),
            ),
            (
                "a label",
                json!({ "metadata": { "annotations": {} } }),
                &wanted(&[], &[("l", "1")]),
                json!([{ "op": "add", "path": "/metadata/labels", "value": { "l": "1" } }]),
            ),
            ("nothing wanted", json!({ "metadata": 7 }), &wanted(&[], &[]), json!([])),
        ];
        for (row, object, wanted, expected) in rows {
            assert_eq!(json!(patch(&object.to_string(), wanted)), expected, "{row}");
        }
        for odd in [
            "{}",
            "[[]]",
            r#"{ "metadata": [] }"#,
            r#"{ "metadata": { "annotations": [] } }"#,
        ] {
            assert_eq!(patch(odd, &one), None, "{odd}");
        }
    }
}
