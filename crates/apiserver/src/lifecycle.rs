//! What the server itself does to objects: metadata, generation, finalizers, namespaces, definitions, defaults.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::object::{
    at, has_finalizers, is_deleting, map_mut, meta, metadata_mut, now, set_or_remove, suffix, text, uuid,
};
use crate::registry::{CRDS, EVENTS, NAMESPACES, Origin, Resource, Version};
use crate::routes::Part;
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Durability, Key, Packed, Txn};
use crate::{OpenError, crd, events};

/// Time events are kept, as in Kubernetes.
const EVENT_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Between two looks for events that are too old.
const EVENT_SWEEP: Duration = Duration::from_secs(60);
/// Namespaces every server has.
const NAMESPACES_AT_START: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what must be there before the first request.
pub(crate) fn bootstrap(server: &Server, crds: Vec<CustomResourceDefinition>) -> Result<(), OpenError> {
    for definition in crds {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let failed = |message: String| OpenError::Definition {
            name: name.clone(),
            message,
        };
        let mut object = serde_json::to_value(definition).map_err(|e| failed(e.to_string()))?;
        object["apiVersion"] = "apiextensions.k8s.io/v1".into();
        object["kind"] = "CustomResourceDefinition".into();
        crd::default(&mut object);
        if let Some(cause) = crd::check(&object).into_iter().next() {
            return Err(failed(format!("{}: {}", cause.field, cause.message)));
        }
        server
            .store
            .write(Durability::Commit, |txn| {
                install(txn, object);
                Ok(())
            })
            .map_err(|e| failed(e.message))?;
    }
    let namespaces = server.store.write(Durability::Commit, |txn| {
        for name in NAMESPACES_AT_START {
            let key = Key::new(NAMESPACES, "", name);
            if txn.get(&key).is_none() {
                let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                start_metadata(&mut object);
                default_namespace(&mut object);
                txn.put(key, object);
            }
        }
        Ok(())
    });
    namespaces.map_err(|e| OpenError::Definition {
        name: "namespaces".to_owned(),
        message: e.message,
    })
}

/// Creates the definition, or gives a stored one this specification if it differs.
fn install(txn: &mut Txn<'_>, mut object: Value) {
    let key = Key::new(CRDS, "", meta(&object, "name"));
    match txn.get(&key) {
        Some(stored) if stored["spec"] == object["spec"] => return,
        Some(stored) => {
            let generation = stored["metadata"]["generation"].as_i64().unwrap_or(1);
            let spec = object["spec"].take();
            object = Value::clone(&stored);
            object["spec"] = spec;
            object["metadata"]["generation"] = (generation + 1).into();
        }
        None => {
            start_metadata(&mut object);
            object["metadata"]["generation"] = 1.into();
        }
    }
    crd::establish(&mut object);
    txn.put(key, object);
}

fn start_metadata(object: &mut Value) {
    let metadata = metadata_mut(object);
    metadata.insert("uid".to_owned(), uuid().into());
    metadata.insert("creationTimestamp".to_owned(), now().into());
}

/// Makes a sent object a new one: name, identity, first generation, no status.
pub(crate) fn before_create(resource: &Resource, version: &Version, object: &mut Value) {
    let metadata = metadata_mut(object);
    for field in [
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
    ] {
        metadata.remove(field);
    }
    if metadata.get("name").and_then(Value::as_str).unwrap_or("").is_empty() {
        let base = metadata
            .get("generateName")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        if !base.is_empty() {
            metadata.insert("name".to_owned(), format!("{base}{}", suffix()).into());
        }
    }
    start_metadata(object);
    if resource.origin == Origin::Custom || resource.is(CRDS) {
        object["metadata"]["generation"] = 1.into();
    }
    if version.has_status {
        map_mut(object).remove("status");
    }
    if resource.is(CRDS) {
        crd::default(object);
        // The status is written at once: there is no controller to wait for.
        crd::establish(object);
        let finalizers = metadata_mut(object).entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers
            .as_array_mut()
            .filter(|l| !l.iter().any(|f| f == crd::CLEANUP))
        {
            list.push(crd::CLEANUP.into());
        }
    }
    default(resource, object);
    if resource.is(EVENTS) {
        events::default(object);
    }
}

/// Fields only the server sets, and the part of the object this request may not touch, come from the stored one.
pub(crate) fn before_update(resource: &Resource, version: &Version, part: Part, old: &Value, new: &mut Value) {
    match part {
        Part::Status => {
            let status = new.get("status").cloned();
            let managed = at(new, &["metadata", "managedFields"]).cloned();
            *new = old.clone();
            set_or_remove(map_mut(new), "status", status);
            set_or_remove(metadata_mut(new), "managedFields", managed);
        }
        Part::Main if version.has_status => {
            set_or_remove(map_mut(new), "status", old.get("status").cloned());
        }
        Part::Main => {}
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "resourceVersion",
    ] {
        let kept = at(old, &["metadata", field]).cloned();
        set_or_remove(metadata_mut(new), field, kept);
    }
    metadata_mut(new).remove("selfLink");
    for field in ["apiVersion", "kind"] {
        new[field] = old[field].clone();
    }
    if resource.is(CRDS) && part == Part::Main {
        crd::default(new);
    }
    default(resource, new);
    if resource.is(CRDS) && part == Part::Main && old["spec"] != new["spec"] {
        crd::establish(new);
    }
    let counts = resource.origin == Origin::Custom || resource.is(CRDS);
    if counts && part == Part::Main && content(version, old) != content(version, new) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

/// What the generation counts changes of.
fn content(version: &Version, object: &Value) -> Value {
    let mut object = object.clone();
    let map = map_mut(&mut object);
    map.remove("metadata");
    if version.has_status {
        map.remove("status");
    }
    object
}

/// Defaults of built-in resources that are not in their schemas.
fn default(resource: &Resource, object: &mut Value) {
    if resource.origin == Origin::Custom {
        return;
    }
    match resource.plural.as_str() {
        "namespaces" => default_namespace(object),
        "secrets" => default_secret(object),
        "pods" => default_pod(object),
        _ => {}
    }
}

fn default_namespace(object: &mut Value) {
    let name = meta(object, "name").to_owned();
    let labels = map_mut(metadata_mut(object).entry("labels").or_insert_with(|| json!({})));
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    let map = map_mut(object);
    if map.get("spec").is_none_or(|s| s.get("finalizers").is_none()) {
        map.insert("spec".to_owned(), json!({"finalizers": ["kubernetes"]}));
    }
    map.entry("status").or_insert_with(|| json!({"phase": "Active"}));
}

fn default_secret(object: &mut Value) {
    use base64::Engine as _;
    let map = map_mut(object);
    map.entry("type").or_insert_with(|| "Opaque".into());
    if let Some(Value::Object(plain)) = map.remove("stringData") {
        let data = map_mut(map.entry("data").or_insert_with(|| json!({})));
        for (name, value) in plain {
            let text = value.as_str().unwrap_or("");
            data.insert(name, base64::engine::general_purpose::STANDARD.encode(text).into());
        }
    }
}

fn default_pod(object: &mut Value) {
    let map = map_mut(object);
    map.entry("status")
        .or_insert_with(|| json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let Some(spec) = map.get_mut("spec").filter(|s| s.is_object()).map(map_mut) else {
        return;
    };
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
    ] {
        spec.entry(field).or_insert(value);
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let latest = container["image"].as_str().is_some_and(|i| {
                let last = i.rsplit('/').next().unwrap_or(i);
                !last.contains('@') && (!last.contains(':') || last.ends_with(":latest"))
            });
            let container = map_mut(container);
            for (field, value) in [
                ("imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" })),
                ("terminationMessagePath", json!("/dev/termination-log")),
                ("terminationMessagePolicy", json!("File")),
                ("resources", json!({})),
            ] {
                container.entry(field).or_insert(value);
            }
        }
    }
}

/// Drops events nobody will ask for any more; looks through them now and then only.
pub(crate) fn expire_events(txn: &mut Txn<'_>) {
    if !txn.is_due(EVENT_SWEEP) {
        return;
    }
    let Ok(cutoff) = Timestamp::now().checked_sub(EVENT_LIFE) else {
        return;
    };
    let is_old = |event: &Value| {
        let last = ["lastTimestamp", "eventTime"].map(|f| text(event, &[f]));
        let last = last
            .into_iter()
            .find(|t| !t.is_empty())
            .unwrap_or_else(|| meta(event, "creationTimestamp"));
        last.parse::<Timestamp>().is_ok_and(|t| t < cutoff)
    };
    let old: Vec<Key> = txn
        .list(EVENTS, None)
        .into_iter()
        .filter(|(_, event)| is_old(&event.open()))
        .map(|(k, _)| k)
        .collect();
    for key in old {
        txn.delete(&key);
    }
}

/// Refuses to create in a namespace that is absent or going away.
pub(crate) fn check_namespace(txn: &Txn<'_>, resource: &Resource, namespace: &str, name: &str) -> Result<(), ApiError> {
    if !resource.is_namespaced() {
        return Ok(());
    }
    match txn.get(&Key::new(NAMESPACES, "", namespace)) {
        None => Err(ApiError::not_found("", "namespaces", namespace)),
        Some(object) if is_deleting(&object) => {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            Err(ApiError::forbidden(&resource.group, &resource.plural, name, &why))
        }
        Some(_) => Ok(()),
    }
}

/// Outcome of a deletion.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// Gone; the last state.
    Gone(Value),
    /// Marked: finalizers are left.
    Marked(Value),
}

/// Deletes an object, or marks it if something must happen first.
pub(crate) fn delete(txn: &mut Txn<'_>, key: &Key, object: &Value) -> Option<Deleted> {
    let waits = has_finalizers(object) || owns_content(key);
    if !waits {
        let gone = txn.delete(key)?;
        after_removal(txn, key);
        return Some(Deleted::Gone(gone));
    }
    let mut marked = object.clone();
    if !is_deleting(object) {
        let generation = at(object, &["metadata", "generation"]).and_then(Value::as_i64);
        let metadata = metadata_mut(&mut marked);
        metadata.insert("deletionTimestamp".to_owned(), now().into());
        if key.resource != NAMESPACES && key.resource != CRDS {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
        }
        if let Some(generation) = generation {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
        if key.resource == NAMESPACES {
            marked["status"]["phase"] = "Terminating".into();
        }
        let marked = txn.put(key.clone(), marked);
        delete_content(txn, key, &marked);
        return match txn.get(key) {
            Some(now) => Some(Deleted::Marked(now)),
            None => Some(Deleted::Gone(marked)),
        };
    }
    Some(Deleted::Marked(marked))
}

/// Namespaces and definitions own other objects.
fn owns_content(key: &Key) -> bool {
    matches!(key.resource.as_str(), NAMESPACES | CRDS)
}

fn delete_content(txn: &mut Txn<'_>, owner: &Key, object: &Value) {
    let content: Vec<(Key, Packed)> = match owner.resource.as_str() {
        NAMESPACES => txn.namespace(&owner.name).into_iter().collect(),
        CRDS => txn.list(&crd::storage(object), None).into_iter().collect(),
        _ => return,
    };
    for (key, object) in content {
        let _ = delete(txn, &key, &object.open());
    }
    remove_if_empty(txn, owner);
}

/// Lets a namespace or definition go once it waits for nothing.
fn remove_if_empty(txn: &mut Txn<'_>, owner: &Key) {
    let Some(object) = txn.get(owner).filter(is_deleting) else {
        return;
    };
    let finalizers = at(&object, &["metadata", "finalizers"]).and_then(Value::as_array);
    let waits = finalizers.is_some_and(|list| list.iter().any(|f| f != crd::CLEANUP));
    let empty = match owner.resource.as_str() {
        NAMESPACES => txn.namespace(&owner.name).is_empty(),
        CRDS => txn.list(&crd::storage(&object), None).is_empty(),
        _ => true,
    };
    if empty && !waits {
        txn.delete(owner);
    }
}

/// After an object went: its namespace or definition may have waited for that.
pub(crate) fn after_removal(txn: &mut Txn<'_>, key: &Key) {
    if !key.namespace.is_empty() {
        remove_if_empty(txn, &Key::new(NAMESPACES, "", &key.namespace));
    }
    if let Some((group, plural)) = key.resource.split_once('/') {
        remove_if_empty(txn, &Key::new(CRDS, "", &format!("{plural}.{group}")));
    }
}

/// Lets a marked object go once an update removed its last finalizer.
pub(crate) fn finish_deletion(txn: &mut Txn<'_>, key: &Key, object: &Value) {
    if !is_deleting(object) {
        return;
    }
    if matches!(key.resource.as_str(), NAMESPACES | CRDS) {
        remove_if_empty(txn, key);
    } else if !has_finalizers(object) {
        txn.delete(key);
        after_removal(txn, key);
    }
}
