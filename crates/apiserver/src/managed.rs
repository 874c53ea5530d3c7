//! `managedFields`: who set which fields, for updates and for server-side apply.

use serde_json::{Value, json};

use crate::apply;
use crate::fieldset::{FieldSet, Step};
use crate::object::{at, map_mut, metadata_mut, now, text};
use crate::patch::Force;
use crate::routes::{Part, Target};
use crate::schema::Schema;
use crate::status::ApiError;
use crate::typed;

/// Who writes, and through what.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    name: String,
    api_version: String,
    subresource: &'static str,
}

impl Manager {
    /// Names are cut to the length Kubernetes allows.
    pub(crate) fn new(target: &Target, name: &str) -> Self {
        const NAME_CHARS: usize = 128;
        Self {
            name: name.chars().take(NAME_CHARS).collect(),
            api_version: target.api_version(),
            subresource: if target.part == Part::Status { "status" } else { "" },
        }
    }
}

/// One entry of `managedFields`, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) operation: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: String,
    pub(crate) fields: FieldSet,
}

impl Entry {
    fn new(manager: &Manager, operation: &str, fields: FieldSet) -> Self {
        Self {
            manager: manager.name.clone(),
            operation: operation.to_owned(),
            api_version: manager.api_version.clone(),
            subresource: manager.subresource.to_owned(),
            time: now(),
            fields,
        }
    }

    pub(crate) fn is_of(&self, manager: &Manager, operation: &str) -> bool {
        self.manager == manager.name
            && self.operation == operation
            && self.subresource == manager.subresource
            && self.api_version == manager.api_version
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.clone().into();
        }
        value
    }
}

/// Entries of an object.
pub(crate) fn read(object: &Value) -> Vec<Entry> {
    let list = at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|e| Entry {
            manager: text(e, &["manager"]).to_owned(),
            operation: text(e, &["operation"]).to_owned(),
            api_version: text(e, &["apiVersion"]).to_owned(),
            subresource: text(e, &["subresource"]).to_owned(),
            time: text(e, &["time"]).to_owned(),
            fields: FieldSet::from_value(&e["fieldsV1"]),
        })
        .collect()
}

fn store(object: &mut Value, entries: &[Entry]) {
    let list: Vec<Value> = entries.iter().filter(|e| !e.fields.is_empty()).map(Entry::to_value).collect();
    let metadata = metadata_mut(object);
    if list.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), list.into());
    }
}

/// Fields nobody owns: the server sets them or they name the object.
fn without_system_fields(mut set: FieldSet) -> FieldSet {
    for field in ["apiVersion", "kind"] {
        set.children.remove(&Step::Field(field.to_owned()));
    }
    if let Some(metadata) = set.children.get_mut(&Step::Field("metadata".to_owned())) {
        metadata.is_member = false;
        for field in [
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
            "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "clusterName",
        ] {
            metadata.children.remove(&Step::Field(field.to_owned()));
        }
        if metadata.is_empty() {
            set.children.remove(&Step::Field("metadata".to_owned()));
        }
    }
    set
}

/// The paths of an object that can be owned.
pub(crate) fn ownable(schema: &Schema<'_>, object: &Value) -> FieldSet {
    without_system_fields(typed::set_of(schema, object))
}

/// Records an update: changed fields go to the writer, from whoever had them.
pub(crate) fn update(schema: &Schema<'_>, manager: &Manager, old: Option<&Value>, new: &mut Value) {
    // A client that sends an emptied list means to reset it; one that sends none keeps what is stored.
    let sent = at(new, &["metadata", "managedFields"]).and_then(Value::as_array);
    let reset = sent.is_some_and(|s| s.is_empty() || s.iter().all(|e| e.as_object().is_some_and(|e| e.is_empty())));
    let mut entries = match old {
        Some(_) if reset => Vec::new(),
        Some(old) => read(old),
        None => Vec::new(),
    };
    let nothing = json!({});
    let changed = without_system_fields(typed::changed(schema, old.unwrap_or(&nothing), new));
    for entry in &mut entries {
        let kept = if entry.is_of(manager, "Update") { entry.fields.clone() } else { entry.fields.minus(&changed) };
        let kept = typed::present(schema, &kept, new);
        entry.fields = kept;
    }
    if !changed.is_empty() {
        match entries.iter_mut().find(|e| e.is_of(manager, "Update")) {
            Some(entry) => {
                entry.fields.union(&changed);
                entry.time = now();
            }
            None => entries.push(Entry::new(manager, "Update", changed)),
        }
    }
    store(new, &entries);
}

/// Records an apply that created the object.
pub(crate) fn applied_new(schema: &Schema<'_>, manager: &Manager, config: &Value, object: &mut Value) {
    store(object, &[Entry::new(manager, "Apply", ownable(schema, config))]);
}

/// Merges an applied object into the live one: the result, with its managed fields settled.
pub(crate) fn apply(
    schema: &Schema<'_>,
    manager: &Manager,
    live: &Value,
    config: &Value,
    force: Force,
) -> Result<Value, ApiError> {
    let wanted = ownable(schema, config);
    let mut entries = read(live);
    let mut merged = live.clone();
    metadata_mut(&mut merged).remove("managedFields");
    let mut base = merged.clone();
    typed::merge(schema, &mut merged, config);
    apply::settle_conflicts(schema, manager, &mut entries, &base, &merged, &wanted, force)?;
    let last = entries.iter().find(|e| e.is_of(manager, "Apply")).map(|e| e.fields.clone()).unwrap_or_default();
    let mut owned = wanted.clone();
    for entry in entries.iter().filter(|e| !e.is_of(manager, "Apply")) {
        owned.union(&entry.fields);
    }
    typed::remove(schema, &mut merged, &last.minus(&wanted), &owned);
    match entries.iter_mut().find(|e| e.is_of(manager, "Apply")) {
        Some(entry) => {
            if entry.fields != wanted {
                entry.time = now();
            }
            entry.fields = wanted;
        }
        None => entries.push(Entry::new(manager, "Apply", wanted)),
    }
    for entry in &mut entries {
        entry.fields = typed::present(schema, &entry.fields, &merged);
    }
    let changed = base != merged;
    if changed {
        if let Some(entry) = entries.iter_mut().find(|e| e.is_of(manager, "Apply")) {
            entry.time = now();
        }
    }
    map_mut(&mut base);
    store(&mut merged, &entries);
    Ok(merged)
}

/// Whether a write changed nothing but when things were said to be changed.
pub(crate) fn is_same(old: &Value, new: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        let entries = metadata_mut(&mut object).get_mut("managedFields").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            map_mut(entry).remove("time");
        }
        object
    };
    old == new || strip(old) == strip(new)
}
