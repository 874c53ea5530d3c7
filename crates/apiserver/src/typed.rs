//! Objects seen through their schema: which paths they set, where two differ, merging one into another.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::fieldset::{FieldSet, Step};
use crate::schema::{ListKind, Schema};

/// The step of a list item; `None` where items have no identity of their own.
pub(crate) fn step_of(schema: &Schema<'_>, kind: &ListKind<'_>, item: &Value) -> Option<Step> {
    match kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(Step::Item(item.to_string())),
        ListKind::Keyed(keys) => {
            let items = schema.items();
            let mut found = BTreeMap::new();
            for key in keys {
                let value = item
                    .get(*key)
                    .cloned()
                    .or_else(|| items.declared(key)?.get("default").cloned());
                if let Some(value) = value {
                    found.insert((*key).to_owned(), value.to_string());
                }
            }
            (!found.is_empty()).then_some(Step::Key(found))
        }
    }
}

/// The paths an object sets.
pub(crate) fn set_of(schema: &Schema<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match value {
        Value::Object(map) if !schema.is_atomic_map() => {
            for (name, child) in map {
                let below = schema.field(name);
                let mut found = set_of(&below, child);
                let is_entry = schema.is_known() && schema.declared(name).is_none();
                let is_empty = child.as_object().is_some_and(Map::is_empty) || child.is_null();
                found.is_member |= is_entry || is_empty;
                if !found.is_empty() {
                    set.children.insert(Step::Field(name.clone()), found);
                }
            }
        }
        Value::Array(items) if schema.list_kind() != ListKind::Atomic => {
            let kind = schema.list_kind();
            for item in items {
                let Some(step) = step_of(schema, &kind, item) else {
                    continue;
                };
                let mut found = set_of(&schema.items(), item);
                found.is_member = true;
                set.child(step).union(&found);
            }
        }
        _ => set.is_member = true,
    }
    set
}

/// Paths that are new or different in `new`.
pub(crate) fn changed(schema: &Schema<'_>, old: &Value, new: &Value) -> FieldSet {
    if old == new {
        return FieldSet::default();
    }
    let mut set = FieldSet::default();
    match (old, new) {
        (Value::Object(old), Value::Object(new_map)) if !schema.is_atomic_map() => {
            for (name, child) in new_map {
                let below = schema.field(name);
                let found = match old.get(name) {
                    Some(before) => changed(&below, before, child),
                    None => {
                        let alone = Value::Object(Map::from_iter([(name.clone(), child.clone())]));
                        set.union(&set_of(schema, &alone));
                        continue;
                    }
                };
                if !found.is_empty() {
                    set.child(Step::Field(name.clone())).union(&found);
                }
            }
        }
        (Value::Array(old), Value::Array(items)) if schema.list_kind() != ListKind::Atomic => {
            let kind = schema.list_kind();
            for item in items {
                let Some(step) = step_of(schema, &kind, item) else {
                    continue;
                };
                let before = old.iter().find(|o| step_of(schema, &kind, o).as_ref() == Some(&step));
                let found = match before {
                    Some(before) => changed(&schema.items(), before, item),
                    None => FieldSet {
                        is_member: true,
                        ..set_of(&schema.items(), item)
                    },
                };
                if !found.is_empty() {
                    set.child(step).union(&found);
                }
            }
        }
        _ => {
            set = set_of(schema, new);
            // A map or list that took the place of something else is a change of the place too.
            set.is_member |= set.is_empty();
        }
    }
    set
}

/// Members of `set` that the object has.
pub(crate) fn present(schema: &Schema<'_>, set: &FieldSet, value: &Value) -> FieldSet {
    let mut kept = FieldSet {
        is_member: set.is_member,
        children: BTreeMap::new(),
    };
    for (step, below) in &set.children {
        if let Some((child_schema, child)) = descend(schema, value, step) {
            let found = present(&child_schema, below, child);
            if !found.is_empty() {
                kept.children.insert(step.clone(), found);
            }
        }
    }
    kept
}

fn descend<'v, 's>(schema: &Schema<'s>, value: &'v Value, step: &Step) -> Option<(Schema<'s>, &'v Value)> {
    match step {
        Step::Field(name) => Some((schema.field(name), value.get(name)?)),
        _ => {
            let kind = schema.list_kind();
            let item = value
                .as_array()?
                .iter()
                .find(|i| step_of(schema, &kind, i).as_ref() == Some(step))?;
            Some((schema.items(), item))
        }
    }
}

/// Merges an applied object into a live one.
pub(crate) fn merge(schema: &Schema<'_>, live: &mut Value, applied: &Value) {
    match (&mut *live, applied) {
        (Value::Object(live), Value::Object(applied)) if !schema.is_atomic_map() => {
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(slot) => merge(&schema.field(name), slot, value),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(applied)) if schema.list_kind() != ListKind::Atomic => {
            let kind = schema.list_kind();
            for item in applied {
                let step = step_of(schema, &kind, item);
                let found = live
                    .iter_mut()
                    .find(|l| step.is_some() && step_of(schema, &kind, l) == step);
                match found {
                    Some(slot) => merge(&schema.items(), slot, item),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// Removes what `gone` names and `owned` does not; what held nothing else goes with it.
pub(crate) fn remove(schema: &Schema<'_>, value: &mut Value, gone: &FieldSet, owned: &FieldSet) {
    for (step, below) in &gone.children {
        let kept = owned.get(step);
        let is_owned = kept.is_some_and(|k| !k.is_empty());
        if below.is_member && !is_owned {
            take(schema, value, step);
            continue;
        }
        let nothing = FieldSet::default();
        let became_empty = match (step, &mut *value) {
            (Step::Field(name), Value::Object(map)) => map.get_mut(name).is_some_and(|child| {
                remove(&schema.field(name), child, below, kept.unwrap_or(&nothing));
                child.as_object().is_some_and(Map::is_empty) || child.as_array().is_some_and(Vec::is_empty)
            }),
            (_, Value::Array(items)) => {
                let kind = schema.list_kind();
                let found = items
                    .iter_mut()
                    .find(|i| step_of(schema, &kind, i).as_ref() == Some(step));
                if let Some(item) = found {
                    remove(&schema.items(), item, below, kept.unwrap_or(&nothing));
                }
                false
            }
            _ => false,
        };
        if became_empty && !is_owned {
            take(schema, value, step);
        }
    }
}

fn take(schema: &Schema<'_>, value: &mut Value, step: &Step) {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => {
            map.remove(name);
        }
        (_, Value::Array(items)) => {
            let kind = schema.list_kind();
            items.retain(|i| step_of(schema, &kind, i).as_ref() != Some(step));
        }
        _ => {}
    }
}
