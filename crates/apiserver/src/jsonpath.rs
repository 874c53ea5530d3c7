//! The part of JSONPath that printer columns use: fields, indices, wildcards and equality filters.

use serde_json::Value;

/// Values found at the path, in order; none if the path cannot be read.
pub(crate) fn find<'a>(path: &str, object: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest = path
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (name, next) = field(after);
            found = if name == "*" {
                found.into_iter().flat_map(children).collect()
            } else if name.is_empty() {
                found
            } else {
                found.into_iter().filter_map(|v| v.get(&name)).collect()
            };
            rest = next;
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some(end) = closing(after) else { return Vec::new() };
            let inner = &after[..end];
            found = found.into_iter().flat_map(|v| select(inner, v)).collect();
            rest = &after[end + 1..];
        } else {
            let (name, next) = field(rest);
            if name.is_empty() {
                return Vec::new();
            }
            found = found.into_iter().filter_map(|v| v.get(&name)).collect();
            rest = next;
        }
    }
    found
}

/// A field name, where `\.` stands for a dot in it, and what follows.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[i..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (c, quote) {
            (']', None) => return Some(i),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            _ => {}
        }
    }
    None
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn select<'a>(inner: &str, value: &'a Value) -> Vec<&'a Value> {
    let inner = inner.trim();
    if inner == "*" {
        return children(value);
    }
    if let Some(name) = unquote(inner) {
        return value.get(name).into_iter().collect();
    }
    if let Some(test) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let Some((path, wanted)) = test.split_once("==") else {
            return Vec::new();
        };
        let path = path.trim().trim_start_matches('@');
        let wanted = wanted.trim();
        let wanted = unquote(wanted).map_or_else(|| wanted.to_owned(), str::to_owned);
        let fits = |item: &&Value| find(path, item).first().is_some_and(|v| text(v) == wanted);
        return children(value).into_iter().filter(fits).collect();
    }
    let Some(items) = value.as_array() else {
        return Vec::new();
    };
    let index = inner.parse::<isize>().ok();
    let index = index.and_then(|i| {
        if i < 0 {
            items.len().checked_add_signed(i)
        } else {
            usize::try_from(i).ok()
        }
    });
    index.and_then(|i| items.get(i)).into_iter().collect()
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"']
        .into_iter()
        .find_map(|q| text.strip_prefix(q)?.strip_suffix(q))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_what_columns_ask_for() {
        let object = json!({"a": {"b.c": 1, "l": [{"t": "x", "v": 1}, {"t": "y", "v": 2}]}});
        let rows: &[(&str, Value)] = &[
            (".a.l[0].v", json!([1])),
            (".a.l[-1].v", json!([2])),
            (".a.l[*].t", json!(["x", "y"])),
            (".a.l[?(@.t==\"y\")].v", json!([2])),
            (".a.l[?(@.t=='z')].v", json!([])),
            (".a.b\\.c", json!([1])),
            (".a['b.c']", json!([1])),
            ("{.a.l[1].t}", json!(["y"])),
            (".missing.x", json!([])),
            (".a.l[", json!([])),
        ];
        for (path, expected) in rows {
            assert_eq!(json!(find(path, &object)), *expected, "{path}");
        }
    }
}
