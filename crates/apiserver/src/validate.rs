//! What is wrong with an object: names, metadata and everything its schema demands.

use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use crate::crd;
use crate::object::{at, meta, text};
use crate::registry::{CRDS, NAMESPACES, Origin, Resource};
use crate::schema::{ListKind, Schema};
use crate::status::Cause;
use crate::typed::step_of;

const LABEL_CHARS: usize = 63;
const SUBDOMAIN_CHARS: usize = 253;
/// All annotations of an object together, as in Kubernetes.
const ANNOTATION_BYTES: usize = 256 * 1024;

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty() && text.chars().all(|c| edge(c) || c == '-') && text.starts_with(edge) && text.ends_with(edge)
}

fn is_word(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(|c| edge(c) || "-_.".contains(c)) && text.starts_with(edge) && text.ends_with(edge)
}

fn check_name(resource: &Resource, field: &str, name: &str) -> Vec<Cause> {
    let value = Value::from(name);
    let mut causes = Vec::new();
    let (limit, legal, rule) = if resource.is(NAMESPACES) {
        (LABEL_CHARS, is_label(name), LABEL_RULE)
    } else {
        (SUBDOMAIN_CHARS, name.split('.').all(is_label), SUBDOMAIN_RULE)
    };
    if name.len() > limit {
        causes.push(Cause::invalid(
            field,
            &value,
            &format!("must be no more than {limit} characters"),
        ));
    }
    if !legal {
        causes.push(Cause::invalid(field, &value, rule));
    }
    causes
}

/// Name, labels, annotations and owners.
pub(crate) fn metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let name = meta(object, "name");
    if name.is_empty() {
        return vec![Cause::required("metadata.name", "name or generateName is required")];
    }
    let mut causes = check_name(resource, "metadata.name", name);
    let labels = at(object, &["metadata", "labels"]).and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        causes.extend(check_key("metadata.labels", key));
        let text = value.as_str().unwrap_or("");
        if text.len() > LABEL_CHARS {
            let why = format!("must be no more than {LABEL_CHARS} characters");
            causes.push(Cause::invalid("metadata.labels", value, &why));
        }
        if !text.is_empty() && !is_word(text) {
            causes.push(Cause::invalid("metadata.labels", value, VALUE_RULE));
        }
    }
    let annotations = at(object, &["metadata", "annotations"]).and_then(Value::as_object);
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        causes.extend(check_key("metadata.annotations", &key.to_lowercase()));
        bytes += key.len() + value.as_str().unwrap_or("").len();
    }
    if bytes > ANNOTATION_BYTES {
        let message = format!("Too long: must have at most {ANNOTATION_BYTES} bytes");
        causes.push(Cause::other("FieldValueTooLong", "metadata.annotations", message));
    }
    for finalizer in strings(object, &["metadata", "finalizers"]) {
        causes.extend(check_key("metadata.finalizers", finalizer));
    }
    causes
}

fn strings<'a>(object: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a str> {
    at(object, path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn check_key(field: &str, key: &str) -> Option<Cause> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    let value = Value::from(key);
    if name.is_empty() {
        return Some(Cause::invalid(field, &value, "name part must be non-empty"));
    }
    if name.len() > LABEL_CHARS {
        let why = format!("name part must be no more than {LABEL_CHARS} characters");
        return Some(Cause::invalid(field, &value, &why));
    }
    if !is_word(name) {
        return Some(Cause::invalid(field, &value, QUALIFIED_RULE));
    }
    match prefix {
        Some(prefix) if !prefix.split('.').all(is_label) => {
            Some(Cause::invalid(field, &value, &format!("prefix part {SUBDOMAIN_RULE}")))
        }
        _ => None,
    }
}

/// A marked object may lose finalizers, not gain them.
pub(crate) fn no_new_finalizers(old: Option<&Value>, new: &Value) -> Option<Cause> {
    let old = old?;
    let had: Vec<&str> = strings(old, &["metadata", "finalizers"]).collect();
    let added: Vec<&str> = strings(new, &["metadata", "finalizers"])
        .filter(|f| !had.contains(f))
        .collect();
    if added.is_empty() {
        return None;
    }
    let why = format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}");
    Some(Cause::forbidden("metadata.finalizers", &why))
}

/// What built-in resources demand beyond their schema.
pub(crate) fn builtin(resource: &Resource, object: &Value) -> Vec<Cause> {
    if resource.origin == Origin::Custom {
        return Vec::new();
    }
    if resource.is(CRDS) {
        return crd::check(object);
    }
    let mut causes = Vec::new();
    if matches!(resource.plural.as_str(), "secrets" | "configmaps") {
        let keys = ["data", "binaryData"]
            .into_iter()
            .filter_map(|f| object.get(f)?.as_object().map(|m| (f, m)));
        for (field, map) in keys {
            for key in map
                .keys()
                .filter(|k| !k.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)))
            {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(
                    format!("{field}[{key}]"),
                    &Value::from(key.as_str()),
                    why,
                ));
            }
        }
    }
    if resource.plural == "pods" {
        let containers = at(object, &["spec", "containers"])
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if containers.is_empty() {
            causes.push(Cause::required("spec.containers", ""));
        }
        for (i, container) in containers.iter().enumerate() {
            for field in ["name", "image"] {
                if text(container, &[field]).is_empty() {
                    causes.push(Cause::required(format!("spec.containers[{i}].{field}"), ""));
                }
            }
        }
    }
    let docker = text(object, &["type"]) == "kubernetes.io/dockerconfigjson";
    if docker && at(object, &["data", ".dockerconfigjson"]).is_none() && resource.plural == "secrets" {
        causes.push(Cause::required("data[.dockerconfigjson]", ""));
    }
    causes
}

/// Why a value cannot be one of a built-in type at all: a field of the wrong type.
pub(crate) fn undecodable(schema: &Schema<'_>, value: &Value) -> Option<String> {
    let wrong = object(schema, value)
        .into_iter()
        .find(|c| c.message.contains(" in body must be of type "))?;
    Some(format!("{}: {}", wrong.field, wrong.message))
}

/// What the schema demands and the object does not have.
pub(crate) fn object(schema: &Schema<'_>, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    check(schema, "", object, &mut causes);
    causes
}

fn check(schema: &Schema<'_>, path: &str, value: &Value, causes: &mut Vec<Cause>) {
    if !schema.is_known() {
        return;
    }
    if value.is_null() && (schema.is_nullable() || path.starts_with("metadata")) {
        return;
    }
    if let Some(cause) = wrong_type(schema, path, value) {
        causes.push(cause);
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(|a| format!("{:?}", plain(a))).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", list.join(", "));
        causes.push(Cause::other("FieldValueNotSupported", path, message));
    }
    match value {
        Value::Object(map) => {
            let required = schema.get("required").and_then(Value::as_array);
            for name in required.into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(name) {
                    causes.push(Cause::required(join(path, name), ""));
                }
            }
            count(
                schema,
                path,
                map.len(),
                ("minProperties", "maxProperties", "properties"),
                causes,
            );
            for (name, child) in map {
                let is_entry = schema.declared(name).is_none();
                let at = if is_entry && !path.is_empty() {
                    format!("{path}.{name}")
                } else {
                    join(path, name)
                };
                check(&schema.field(name), &at, child, causes);
            }
        }
        Value::Array(items) => {
            count(schema, path, items.len(), ("minItems", "maxItems", "items"), causes);
            check_identity(schema, path, items, causes);
            for (i, item) in items.iter().enumerate() {
                check(&schema.items(), &format!("{path}[{i}]"), item, causes);
            }
        }
        Value::String(text) => check_text(schema, path, text, causes),
        Value::Number(number) => check_number(schema, path, number, causes),
        _ => {}
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(schema: &Schema<'_>, path: &str, value: &Value) -> Option<Cause> {
    let found = type_name(value);
    if schema.is_int_or_string() {
        let fits = matches!(found, "integer" | "string");
        return (!fits).then(|| type_cause(path, "integer,string", found));
    }
    let wanted = schema.kind();
    let fits = wanted.is_empty()
        || wanted == found
        || (wanted == "number" && found == "integer")
        || (wanted == "integer" && value.as_f64().is_some_and(|f| f.fract() == 0.0));
    (!fits).then(|| type_cause(path, wanted, found))
}

/// Shows the type found, not the value, as Kubernetes does.
fn type_cause(path: &str, wanted: &str, found: &'static str) -> Cause {
    let field = if path.is_empty() { "<nil>" } else { path };
    let why = format!("{path} in body must be of type {wanted}: {found:?}");
    Cause::invalid(field, &Value::from(found), &why)
}

fn count(schema: &Schema<'_>, path: &str, len: usize, (min, max, what): (&str, &str, &str), causes: &mut Vec<Cause>) {
    let limit = |field: &str| {
        schema
            .get(field)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    if let Some(min) = limit(min).filter(|m| len < *m) {
        let why = format!("{path} in body should have at least {min} {what}");
        causes.push(Cause::invalid(path, &Value::from(len), &why));
    }
    if let Some(max) = limit(max).filter(|m| len > *m) {
        let why = format!("{path} in body should have at most {max} {what}");
        causes.push(Cause::invalid(path, &Value::from(len), &why));
    }
}

/// Items of sets and keyed lists must differ.
fn check_identity(schema: &Schema<'_>, path: &str, items: &[Value], causes: &mut Vec<Cause>) {
    let kind = schema.list_kind();
    if kind == ListKind::Atomic {
        return;
    }
    let mut seen = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(step) = step_of(schema, &kind, item) else {
            continue;
        };
        if seen.contains(&step) {
            let shown = match &kind {
                // The text of Go's map type is what Kubernetes shows.
                ListKind::Keyed(keys) => {
                    let keys = keys
                        .iter()
                        .filter_map(|k| Some(((*k).to_owned(), item.get(*k)?.clone())));
                    format!("map[string]interface {{}}{}", keys.collect::<Value>())
                }
                _ => item.to_string(),
            };
            let message = format!("Duplicate value: {shown}");
            causes.push(Cause::other("FieldValueDuplicate", format!("{path}[{i}]"), message));
        }
        seen.push(step);
    }
}

fn check_text(schema: &Schema<'_>, path: &str, text: &str, causes: &mut Vec<Cause>) {
    let value = Value::from(text);
    let chars = text.chars().count();
    let limit = |field: &str| {
        schema
            .get(field)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    if let Some(min) = limit("minLength").filter(|m| chars < *m) {
        let why = format!("{path} in body should be at least {min} chars long");
        causes.push(Cause::invalid(path, &value, &why));
    }
    if let Some(max) = limit("maxLength").filter(|m| chars > *m) {
        let why = format!("{path} in body should be at most {max} chars long");
        causes.push(Cause::invalid(path, &value, &why));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        // A pattern this engine cannot read is not held against the object.
        if Regex::new(pattern).is_ok_and(|p| !p.is_match(text)) {
            let why = format!("{path} in body should match '{pattern}'");
            causes.push(Cause::invalid(path, &value, &why));
        }
    }
    let bad_format = match schema.text("format") {
        "date-time" => text.parse::<jiff::Timestamp>().is_err(),
        "byte" => !is_base64(text),
        "uuid" => !uuid().is_none_or(|u| u.is_match(text)),
        _ => false,
    };
    if bad_format {
        let why = format!("{path} in body must be of type {}: {value}", schema.text("format"));
        causes.push(Cause::invalid(path, &value, &why));
    }
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text.replace(['\n', '\r'], ""))
        .is_ok()
}

fn uuid() -> Option<&'static Regex> {
    static UUID: OnceLock<Option<Regex>> = OnceLock::new();
    UUID.get_or_init(|| Regex::new("^(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$").ok())
        .as_ref()
}

fn check_number(schema: &Schema<'_>, path: &str, number: &serde_json::Number, causes: &mut Vec<Cause>) {
    let value = Value::Number(number.clone());
    let Some(found) = number.as_f64() else { return };
    let limit = |field: &str| schema.get(field).and_then(Value::as_f64);
    let exclusive = |field: &str| schema.get(field) == Some(&Value::Bool(true));
    if let Some(min) = limit("minimum") {
        let strict = exclusive("exclusiveMinimum");
        if found < min || (strict && found <= min) {
            let word = if strict {
                "greater than"
            } else {
                "greater than or equal to"
            };
            causes.push(Cause::invalid(
                path,
                &value,
                &format!("{path} in body should be {word} {min}"),
            ));
        }
    }
    if let Some(max) = limit("maximum") {
        let strict = exclusive("exclusiveMaximum");
        if found > max || (strict && found >= max) {
            let word = if strict { "less than" } else { "less than or equal to" };
            causes.push(Cause::invalid(
                path,
                &value,
                &format!("{path} in body should be {word} {max}"),
            ));
        }
    }
    if let Some(step) = limit("multipleOf").filter(|s| *s > 0.0 && (found / s).fract() != 0.0) {
        causes.push(Cause::invalid(
            path,
            &value,
            &format!("{path} in body should be a multiple of {step}"),
        ));
    }
}
