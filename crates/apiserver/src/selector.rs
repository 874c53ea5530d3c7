//! Label and field selectors of list, watch and deletecollection requests.

use serde_json::Value;

use crate::object::at;
use crate::registry::{EVENTS, EVENTS_GROUP, Origin, Resource};
use crate::status::ApiError;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Is(Vec<String>),
    IsNot(Vec<String>),
    Exists,
    Missing,
}

/// Which objects a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<(String, Test)>,
    /// (path in the stored object, wanted value, whether it must differ)
    fields: Vec<(Vec<String>, String, bool)>,
}

impl Selector {
    pub(crate) fn parse(resource: &Resource, labels: Option<&str>, fields: Option<&str>) -> Result<Self, ApiError> {
        Ok(Self {
            labels: parse_labels(labels.unwrap_or(""))?,
            fields: parse_fields(resource, fields.unwrap_or(""))?,
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|(key, test)| {
            let value = at(object, &["metadata", "labels"])
                .and_then(|l| l.get(key))
                .and_then(Value::as_str);
            match test {
                Test::Is(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Test::IsNot(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
            }
        }) && self.fields.iter().all(|(path, wanted, differ)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let found = at(object, &path).map(plain).unwrap_or_default();
            (found == *wanted) != *differ
        })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn parse_labels(text: &str) -> Result<Vec<(String, Test)>, ApiError> {
    let bad = |part: &str| ApiError::bad_request(format!("unable to parse requirement: {part:?}"));
    let mut tests = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let test = if let Some((key, value)) = part.split_once("!=") {
            (key.trim(), Test::IsNot(vec![value.trim().to_owned()]))
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key.trim(), Test::Is(vec![value.trim().to_owned()]))
        } else if let Some((head, list)) = part.split_once('(') {
            let list = list.trim_end().strip_suffix(')').ok_or_else(|| bad(part))?;
            let values = list.split(',').map(|v| v.trim().to_owned()).collect();
            let mut words = head.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(key), Some("in"), None) => (key, Test::Is(values)),
                (Some(key), Some("notin"), None) => (key, Test::IsNot(values)),
                _ => return Err(bad(part)),
            }
        } else if let Some(key) = part.strip_prefix('!') {
            (key.trim(), Test::Missing)
        } else {
            (part, Test::Exists)
        };
        let values = match &test.1 {
            Test::Is(values) | Test::IsNot(values) => values.as_slice(),
            Test::Exists | Test::Missing => &[],
        };
        let plain = |v: &String| v.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !values.iter().all(plain) {
            return Err(bad(part));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if test.0.is_empty() || !test.0.chars().all(legal) {
            return Err(bad(part));
        }
        tests.push((test.0.to_owned(), test.1));
    }
    Ok(tests)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Fields beyond name and namespace that built-in resources can be selected by.
fn selectable(resource: &Resource, field: &str) -> bool {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return true;
    }
    if resource.origin == Origin::Custom {
        return false;
    }
    match resource.plural.as_str() {
        "events" => {
            field.starts_with("involvedObject.")
                || field.starts_with("regarding.")
                || matches!(
                    field,
                    "reason" | "type" | "source" | "reportingComponent" | "reportingController"
                )
        }
        "pods" => matches!(
            field,
            "spec.nodeName"
                | "spec.restartPolicy"
                | "spec.schedulerName"
                | "spec.serviceAccountName"
                | "status.phase"
                | "status.podIP"
                | "status.nominatedNodeName"
        ),
        "secrets" => field == "type",
        "namespaces" => field == "status.phase",
        _ => false,
    }
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<(Vec<String>, String, bool)>, ApiError> {
    let mut fields = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (field, value, differ) = if let Some((field, value)) = part.split_once("!=") {
            (field, value, true)
        } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (field, value, false)
        } else {
            let why = format!("invalid selector: '{text}'; can't understand '{part}'");
            return Err(ApiError::bad_request(why));
        };
        if !selectable(resource, field) {
            return Err(ApiError::bad_request(format!(
                "Unable to find {:?} that match label selector \"\", field selector {text:?}: field label not supported: {field}",
                format!("{}/{}", resource.group, resource.plural)
            )));
        }
        fields.push((stored_path(resource, field), value.to_owned(), differ));
    }
    Ok(fields)
}

/// Events are stored in their core form, whichever group is asked.
fn stored_path(resource: &Resource, field: &str) -> Vec<String> {
    let field = match field {
        "source" if resource.is(EVENTS) => "source.component".to_owned(),
        "reportingController" if resource.group == EVENTS_GROUP => "reportingComponent".to_owned(),
        _ if resource.group == EVENTS_GROUP => field.replacen("regarding.", "involvedObject.", 1),
        _ => field.to_owned(),
    };
    field.split('.').map(str::to_owned).collect()
}
