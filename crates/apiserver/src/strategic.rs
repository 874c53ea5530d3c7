//! Strategic merge patches: merge patches that merge lists by key, with `$patch`, `$setElementOrder`, `$retainKeys`
//! and `$deleteFromPrimitiveList` directives.

use serde_json::{Map, Value};

use crate::object::map_mut;
use crate::schema::Schema;
use crate::status::ApiError;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies the patch in place.
pub(crate) fn merge(schema: &Schema<'_>, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    if schema.is_atomic_map() && !target.is_object() {
        *target = Value::Object(Map::new());
    }
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            let kept = patch
                .iter()
                .filter(|(k, _)| *k != PATCH)
                .map(|(k, v)| (k.clone(), v.clone()));
            *target = Value::Object(kept.collect());
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(ApiError::bad_request(format!("unknown patch type {other:?}"))),
    }
    let map = map_mut(target);
    if let Some(retained) = patch.get(RETAIN).and_then(Value::as_array) {
        map.retain(|k, _| retained.iter().any(|r| r == k));
    }
    for (name, value) in patch.iter().filter(|(k, _)| !k.starts_with('$')) {
        let child = schema.field(name);
        match value {
            Value::Null => {
                map.remove(name);
            }
            Value::Array(items) => merge_list(&child, map, name, items)?,
            Value::Object(_) => {
                let slot = map.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                merge(&child, slot, value)?;
                if value.get(PATCH).is_some_and(|p| p == "delete") {
                    map.remove(name);
                }
            }
            other => {
                map.insert(name.clone(), other.clone());
            }
        }
    }
    for (name, value) in patch {
        let Some(items) = value.as_array() else { continue };
        if let Some(field) = name.strip_prefix(DELETE) {
            if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|v| !items.contains(v));
            }
        } else if let Some(field) = name.strip_prefix(ORDER) {
            let key = schema.field(field).text("x-kubernetes-patch-merge-key");
            if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
                sort(list, items, key);
            }
        }
    }
    Ok(())
}

fn merge_list(schema: &Schema<'_>, map: &mut Map<String, Value>, name: &str, items: &[Value]) -> Result<(), ApiError> {
    let merges = schema.text("x-kubernetes-patch-strategy").contains("merge");
    let directive = |item: &Value| item.get(PATCH).and_then(Value::as_str).map(str::to_owned);
    if !merges || items.iter().any(|i| directive(i).as_deref() == Some("replace")) {
        let kept = items.iter().filter(|i| directive(i).is_none()).cloned().collect();
        map.insert(name.to_owned(), Value::Array(kept));
        return Ok(());
    }
    let slot = map.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    let Some(list) = slot.as_array_mut() else { return Ok(()) };
    let key = schema.text("x-kubernetes-patch-merge-key");
    for item in items {
        if key.is_empty() {
            if !list.contains(item) {
                list.push(item.clone());
            }
            continue;
        }
        let id = item
            .get(key)
            .ok_or_else(|| ApiError::bad_request(format!("map: {item} does not contain declared merge key: {key}")))?;
        let found = list.iter().position(|i| i.get(key) == Some(id));
        match (directive(item).as_deref(), found) {
            (Some("delete"), Some(at)) => {
                list.remove(at);
            }
            (Some("delete"), None) => {}
            (_, Some(at)) => merge(&schema.items(), &mut list[at], item)?,
            (_, None) => {
                let mut fresh = Value::Object(Map::new());
                merge(&schema.items(), &mut fresh, item)?;
                list.push(fresh);
            }
        }
    }
    Ok(())
}

/// Orders the items the client named as it named them; the others stay behind those they followed.
fn sort(list: &mut [Value], order: &[Value], key: &str) {
    let rank = |item: &Value| {
        let same = |o: &Value| {
            if key.is_empty() {
                o == item
            } else {
                o.get(key) == item.get(key)
            }
        };
        order.iter().position(same)
    };
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(list.len());
    for item in list.iter() {
        last = rank(item).unwrap_or(last);
        ranked.push((last, item.clone()));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    list.iter_mut().zip(ranked).for_each(|(slot, (_, item))| *slot = item);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_lists_by_key_and_obeys_directives() {
        let schema = json!({"type": "object", "properties": {
            "c": {"type": "array", "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
                "items": {"type": "object"}},
            "f": {"type": "array", "x-kubernetes-patch-strategy": "merge"},
        }});
        let start = json!({"c": [{"name": "a", "x": 1}, {"name": "b"}], "f": ["p", "q"], "l": [1, 2]});
        let rows = [
            (
                "merge item",
                json!({"c": [{"name": "a", "y": 2}]}),
                json!({"c": [{"name": "a", "x": 1, "y": 2}, {"name": "b"}], "f": ["p", "q"], "l": [1, 2]}),
            ),
            (
                "delete item",
                json!({"c": [{"name": "a", "$patch": "delete"}]}),
                json!({"c": [{"name": "b"}], "f": ["p", "q"], "l": [1, 2]}),
            ),
            (
                "order",
                json!({"c": [{"name": "z"}], "$setElementOrder/c": [{"name": "z"}, {"name": "b"}, {"name": "a"}]}),
                json!({"c": [{"name": "z"}, {"name": "b"}, {"name": "a", "x": 1}], "f": ["p", "q"], "l": [1, 2]}),
            ),
            (
                "set",
                json!({"f": ["r"], "$deleteFromPrimitiveList/f": ["p"]}),
                json!({"c": [{"name": "a", "x": 1}, {"name": "b"}], "f": ["q", "r"], "l": [1, 2]}),
            ),
            (
                "atomic list and null",
                json!({"l": [3], "f": null}),
                json!({"c": [{"name": "a", "x": 1}, {"name": "b"}], "l": [3]}),
            ),
            (
                "replace",
                json!({"c": [{"$patch": "replace"}, {"name": "n"}]}),
                json!({"c": [{"name": "n"}], "f": ["p", "q"], "l": [1, 2]}),
            ),
        ];
        for (name, patch, expected) in rows {
            let mut value = start.clone();
            merge(&Schema::new(&schema, &Value::Null), &mut value, &patch).unwrap();
            assert_eq!(value, expected, "{name}");
        }
    }
}
