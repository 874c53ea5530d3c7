//! CustomResourceDefinitions: checking and defaulting them, and the resources they define.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::builtins::{OBJECT_META, REFERENCE};
use crate::object::{at, map_mut, name, now, text};
use crate::registry::{Origin, Resource, Scope, Version, columns, open_schema};
use crate::status::Cause;

/// Fills what a definition may leave out.
pub(crate) fn default(object: &mut Value) {
    let kind = text(object, &["spec", "names", "kind"]).to_owned();
    let spec = map_mut(map_mut(object).entry("spec").or_insert_with(|| json!({})));
    let names = map_mut(spec.entry("names").or_insert_with(|| json!({})));
    names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
    names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
}

/// What is wrong with a definition.
pub(crate) fn check(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (group, plural) = (
        text(object, &["spec", "group"]),
        text(object, &["spec", "names", "plural"]),
    );
    if name(object) != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &name(object).into(), why));
    }
    for (path, value) in [
        ("spec.group", group),
        ("spec.names.plural", plural),
        ("spec.names.kind", text(object, &["spec", "names", "kind"])),
        ("spec.scope", text(object, &["spec", "scope"])),
    ] {
        if value.is_empty() {
            causes.push(Cause::required(path, ""));
        }
    }
    let versions = versions(object);
    if versions
        .iter()
        .filter(|v| v.get("storage").and_then(Value::as_bool) == Some(true))
        .count()
        != 1
    {
        let value = at(object, &["spec", "versions"]).cloned().unwrap_or_default();
        causes.push(Cause::invalid(
            "spec.versions",
            &value,
            "must have exactly one version marked as storage version",
        ));
    }
    for (i, version) in versions.iter().enumerate() {
        if at(version, &["schema", "openAPIV3Schema"]).is_none() {
            causes.push(Cause::required(
                format!("spec.versions[{i}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
    causes
}

fn versions(object: &Value) -> &[Value] {
    at(object, &["spec", "versions"])
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Sets the status that says the resource is served.
pub(crate) fn establish(object: &mut Value) {
    let names = object["spec"]["names"].clone();
    let storage = versions(object).iter().find(|v| v["storage"] == true);
    let storage = storage.map_or(Value::Null, |v| v["name"].clone());
    let mut stored: Vec<Value> = at(object, &["status", "storedVersions"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !stored.contains(&storage) {
        stored.push(storage);
    }
    let first = at(object, &["status", "conditions"]).and_then(|c| c.get(0));
    let since = first
        .and_then(|c| c.get("lastTransitionTime"))
        .cloned()
        .unwrap_or_else(|| now().into());
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message});
    object["status"] = json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": names,
        "storedVersions": stored,
    });
}

/// Whether the definition's resources are served.
pub(crate) fn is_established(object: &Value) -> bool {
    let conditions = at(object, &["status", "conditions"]).and_then(Value::as_array);
    conditions.is_some_and(|c| c.iter().any(|c| c["type"] == "Established" && c["status"] == "True"))
}

/// The storage key of the objects a definition defines.
pub(crate) fn storage(object: &Value) -> String {
    format!(
        "{}/{}",
        text(object, &["spec", "group"]),
        text(object, &["spec", "names", "plural"])
    )
}

/// The resource a stored definition defines.
pub(crate) fn resource(object: &Value) -> Resource {
    let names = &object["spec"]["names"];
    let strings = |field: &str| -> Vec<String> {
        let list = names.get(field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let namespaced = text(object, &["spec", "scope"]) == "Namespaced";
    let mut versions: Vec<&Value> = versions(object).iter().filter(|v| v["served"] == true).collect();
    versions.sort_by_key(|v| v["storage"] != true);
    let group = text(object, &["spec", "group"]);
    let kind = text(names, &["kind"]);
    Resource {
        group: group.to_owned(),
        plural: text(names, &["plural"]).to_owned(),
        singular: text(names, &["singular"]).to_owned(),
        kind: kind.to_owned(),
        list_kind: text(names, &["listKind"]).to_owned(),
        short_names: strings("shortNames"),
        categories: strings("categories"),
        scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
        origin: Origin::Custom,
        versions: versions
            .iter()
            .map(|v| Version {
                name: text(v, &["name"]).to_owned(),
                schema: Arc::new(root_schema(v, group, kind)),
                has_status: at(v, &["subresources", "status"]).is_some(),
                columns: columns(v),
            })
            .collect(),
        storage: storage(object),
    }
}

/// The version's schema with the fields every object has.
fn root_schema(version: &Value, group: &str, kind: &str) -> Value {
    let mut schema = at(version, &["schema", "openAPIV3Schema"])
        .filter(|s| s.is_object())
        .cloned()
        .unwrap_or_else(open_schema);
    let root = map_mut(&mut schema);
    root.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": group, "version": version["name"], "kind": kind}]),
    );
    let properties = map_mut(root.entry("properties").or_insert_with(|| json!({})));
    let about = |text: &str| json!({"type": "string", "description": text});
    properties.insert(
        "apiVersion".to_owned(),
        about("APIVersion names the schema of this object: group/version."),
    );
    properties.insert(
        "kind".to_owned(),
        about("Kind names the resource this object represents."),
    );
    properties.insert(
        "metadata".to_owned(),
        json!({"$ref": format!("{REFERENCE}{OBJECT_META}"), "description": "Standard object's metadata."}),
    );
    schema
}

/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
