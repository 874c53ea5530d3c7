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
    let list: Vec<Value> = entries
        .iter()
        .filter(|e| !e.fields.is_empty())
        .map(Entry::to_value)
        .collect();
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
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "clusterName",
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
    let mut entries = match (old, sent) {
        (None, _) => Vec::new(),
        (Some(_), _) if reset => Vec::new(),
        // Clients move ownership by editing the list, so what they send counts.
        (Some(_), Some(_)) => read(new),
        (Some(old), None) => read(old),
    };
    let nothing = json!({});
    let changed = without_system_fields(typed::changed(schema, old.unwrap_or(&nothing), new));
    for entry in &mut entries {
        let kept = if entry.is_of(manager, "Update") {
            entry.fields.clone()
        } else {
            entry.fields.minus(&changed)
        };
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
    let base = merged.clone();
    typed::merge(schema, &mut merged, config);
    apply::settle_conflicts(schema, manager, &mut entries, &base, &merged, &wanted, force)?;
    let last = entries
        .iter()
        .find(|e| e.is_of(manager, "Apply"))
        .map(|e| e.fields.clone())
        .unwrap_or_default();
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
    if changed && let Some(entry) = entries.iter_mut().find(|e| e.is_of(manager, "Apply")) {
        entry.time = now();
    }
    store(&mut merged, &entries);
    Ok(merged)
}

/// Whether a write changed nothing but when things were said to be changed.
pub(crate) fn is_same(old: &Value, new: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        let entries = metadata_mut(&mut object)
            .get_mut("managedFields")
            .and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            map_mut(entry).remove("time");
        }
        object
    };
    old == new || strip(old) == strip(new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}},
            "atomic": {"type": "array", "items": {"type": "integer"}},
            "deep": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
        }})
    }

    fn manager(name: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            api_version: "v1".to_owned(),
            subresource: "",
        }
    }

    /// Objects whose names all start with `prefix`, so that two of them share no field.
    fn config(prefix: &'static str) -> impl Strategy<Value = Value> {
        let name = move || (0..3_u8).prop_map(move |n| format!("{prefix}{n}"));
        let names = move || proptest::collection::btree_set(name(), 0..3);
        let map = proptest::collection::btree_map(name(), 0..3_i64, 0..3);
        let keyed = proptest::collection::btree_map(name(), proptest::option::of(0..3_i64), 0..3);
        (
            proptest::option::of(map),
            proptest::option::of(names()),
            proptest::option::of(keyed),
        )
            .prop_map(|(map, set, keyed)| {
                let mut value = json!({});
                if let Some(map) = map {
                    value["map"] = json!(map);
                }
                if let Some(set) = set {
                    value["set"] = json!(set);
                }
                if let Some(keyed) = keyed {
                    let item = |(id, n): (String, Option<i64>)| match n {
                        Some(n) => json!({"id": id, "n": n}),
                        None => json!({"id": id}),
                    };
                    value["keyed"] = keyed.into_iter().map(item).collect::<Vec<_>>().into();
                }
                value
            })
    }

    fn applied(by: &str, live: &Value, config: &Value) -> Value {
        let schema = schema();
        apply(
            &Schema::new(&schema, &Value::Null),
            &manager(by),
            live,
            config,
            Force::No,
        )
        .unwrap()
    }

    /// The object without its metadata and without empty parts.
    fn content(object: &Value) -> Value {
        let mut object = object.clone();
        let map = map_mut(&mut object);
        map.remove("metadata");
        map.retain(|_, v| {
            !matches!(v, Value::Object(m) if m.is_empty()) && !matches!(v, Value::Array(a) if a.is_empty())
        });
        object
    }

    proptest! {
        #[test]
        fn applying_again_changes_nothing(first in config("a"), second in config("b")) {
            let live = applied("two", &applied("one", &json!({}), &first), &second);
            let again = applied("one", &live, &first);
            prop_assert!(is_same(&live, &again), "{live} {again}");
        }

        #[test]
        fn a_manager_takes_away_only_what_it_brought(first in config("a"), second in config("b"), third in config("a")) {
            let live = applied("two", &applied("one", &json!({}), &first), &second);
            let replaced = applied("one", &live, &third);
            let fresh = applied("one", &applied("two", &json!({}), &second), &third);
            let sorted = |object: &Value| {
                let mut object = content(object);
                for list in ["set", "keyed"] {
                    if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
                        items.sort_by_key(Value::to_string);
                    }
                }
                object
            };
            prop_assert_eq!(sorted(&replaced), sorted(&fresh));
            let alone = applied("one", &replaced, &json!({}));
            prop_assert_eq!(sorted(&alone), sorted(&applied("two", &json!({}), &second)));
        }

        #[test]
        fn field_sets_read_back_as_written(object in config("a")) {
            let schema = schema();
            let mut set = ownable(&Schema::new(&schema, &Value::Null), &object);
            set.is_member = false;
            prop_assert_eq!(FieldSet::from_value(&set.to_value()), set);
        }
    }

    #[test]
    fn an_update_takes_fields_from_their_owner() {
        let schema = schema();
        let schema = Schema::new(&schema, &Value::Null);
        let live = applied("one", &json!({}), &json!({"deep": {"a": 1, "b": 2}}));
        let mut changed = live.clone();
        changed["deep"]["a"] = 5.into();
        update(&schema, &manager("editor"), Some(&live), &mut changed);
        let owners: Vec<(String, Vec<String>)> = read(&changed)
            .into_iter()
            .map(|e| (e.manager, e.fields.paths()))
            .collect();
        assert_eq!(
            owners,
            [
                ("one".to_owned(), vec![".deep.b".to_owned()]),
                ("editor".to_owned(), vec![".deep.a".to_owned()]),
            ]
        );
        let refused = apply(
            &schema,
            &manager("one"),
            &changed,
            &json!({"deep": {"a": 1, "b": 2}}),
            Force::No,
        );
        assert!(
            refused
                .unwrap_err()
                .message
                .contains("conflict with \"editor\" using v1")
        );
    }
}
