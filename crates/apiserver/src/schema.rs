//! A schema as the rest of the server reads it: references resolved, pruning and defaulting of objects.

use serde_json::{Map, Value};

use crate::builtins::REFERENCE;

/// A schema node; empty where nothing is known of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema<'a> {
    node: Option<&'a Value>,
    /// The node as written, whose own marks win over those of what it refers to.
    outer: Option<&'a Value>,
    definitions: &'a Value,
}

/// How the items of a list are told apart when two writers share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListKind<'a> {
    Atomic,
    Set,
    Keyed(Vec<&'a str>),
}

impl<'a> Schema<'a> {
    pub(crate) fn new(node: &'a Value, definitions: &'a Value) -> Self {
        let mut schema = Self {
            node: Some(node),
            outer: Some(node),
            definitions,
        };
        // References to references do not occur deeper than this in any published schema.
        const DEPTH: usize = 4;
        for _ in 0..DEPTH {
            let Some(next) = schema.node.and_then(referred).and_then(|name| definitions.get(name)) else {
                break;
            };
            schema.node = Some(next);
        }
        schema
    }

    fn unknown(self) -> Self {
        Self {
            node: None,
            outer: None,
            ..self
        }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.outer
            .and_then(|o| o.get(field))
            .or_else(|| self.node.and_then(|n| n.get(field)))
    }

    pub(crate) fn text(&self, field: &str) -> &'a str {
        self.get(field).and_then(Value::as_str).unwrap_or("")
    }

    fn flag(&self, field: &str) -> bool {
        self.get(field) == Some(&Value::Bool(true))
    }

    pub(crate) fn is_known(&self) -> bool {
        self.node.is_some()
    }

    /// The type; a schema may list `null` beside it.
    pub(crate) fn kind(&self) -> &'a str {
        match self.get("type") {
            Some(Value::String(kind)) => kind,
            Some(Value::Array(kinds)) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|k| *k != "null")
                .unwrap_or(""),
            _ => "",
        }
    }

    pub(crate) fn properties(&self) -> Option<&'a Map<String, Value>> {
        self.node.and_then(|n| n.get("properties")).and_then(Value::as_object)
    }

    /// The schema of a field: declared, or that of all other fields.
    pub(crate) fn field(&self, name: &str) -> Schema<'a> {
        match self.declared(name) {
            Some(schema) => schema,
            None => self.additional().unwrap_or_else(|| self.unknown()),
        }
    }

    pub(crate) fn declared(&self, name: &str) -> Option<Schema<'a>> {
        self.properties()?
            .get(name)
            .map(|node| Self::new(node, self.definitions))
    }

    pub(crate) fn additional(&self) -> Option<Schema<'a>> {
        let node = self.node?.get("additionalProperties").filter(|n| n.is_object())?;
        Some(Self::new(node, self.definitions))
    }

    pub(crate) fn items(&self) -> Schema<'a> {
        match self.node.and_then(|n| n.get("items")) {
            Some(node) => Self::new(node, self.definitions),
            None => self.unknown(),
        }
    }

    pub(crate) fn preserves_unknown(&self) -> bool {
        self.flag("x-kubernetes-preserve-unknown-fields")
            || self
                .node
                .is_some_and(|n| n.get("additionalProperties") == Some(&Value::Bool(true)))
    }

    pub(crate) fn is_int_or_string(&self) -> bool {
        self.flag("x-kubernetes-int-or-string") || self.text("format") == "int-or-string"
    }

    pub(crate) fn is_nullable(&self) -> bool {
        self.flag("nullable")
    }

    pub(crate) fn is_atomic_map(&self) -> bool {
        self.text("x-kubernetes-map-type") == "atomic"
    }

    pub(crate) fn list_kind(&self) -> ListKind<'a> {
        match self.text("x-kubernetes-list-type") {
            "set" => ListKind::Set,
            "map" => {
                let keys = self.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                ListKind::Keyed(keys.into_iter().flatten().filter_map(Value::as_str).collect())
            }
            _ => ListKind::Atomic,
        }
    }

    /// Removes fields the schema does not have; returns their paths.
    pub(crate) fn prune(&self, value: &mut Value) -> Vec<String> {
        let mut pruned = Vec::new();
        self.prune_at(value, "", &mut pruned);
        pruned
    }

    fn prune_at(&self, value: &mut Value, path: &str, pruned: &mut Vec<String>) {
        if !self.is_known() {
            return;
        }
        match value {
            Value::Object(map) => {
                let open = self.preserves_unknown()
                    || self.additional().is_some()
                    || (self.properties().is_none() && self.kind() != "object");
                map.retain(|name, child| {
                    let at = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    match self.declared(name) {
                        Some(schema) => schema.prune_at(child, &at, pruned),
                        None if open => {
                            if let Some(schema) = self.additional() {
                                schema.prune_at(child, &at, pruned);
                            }
                        }
                        None => {
                            pruned.push(at);
                            return false;
                        }
                    }
                    true
                });
            }
            Value::Array(items) => {
                let schema = self.items();
                for (i, item) in items.iter_mut().enumerate() {
                    schema.prune_at(item, &format!("{path}[{i}]"), pruned);
                }
            }
            _ => {}
        }
    }

    /// Fills absent fields that have a default; a null where none may be counts as absent.
    pub(crate) fn default(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, node) in self.properties().into_iter().flatten() {
                    let schema = Self::new(node, self.definitions);
                    if map.get(name).is_some_and(Value::is_null) && !schema.is_nullable() {
                        map.remove(name);
                    }
                    if let (None, Some(default)) = (map.get(name), schema.get("default")) {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, child) in map.iter_mut() {
                    let schema = self.field(name);
                    if schema.is_known() {
                        schema.default(child);
                    }
                }
            }
            Value::Array(items) => {
                let schema = self.items();
                if schema.is_known() {
                    items.iter_mut().for_each(|item| schema.default(item));
                }
            }
            _ => {}
        }
    }
}

/// The definition a node refers to, also as the only member of `allOf`.
fn referred(node: &Value) -> Option<&str> {
    let reference = node.get("$ref").or_else(|| node.get("allOf")?.get(0)?.get("$ref"))?;
    reference.as_str()?.strip_prefix(REFERENCE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prunes_and_defaults() {
        let definitions = json!({"d": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}});
        let schema = json!({"type": "object", "properties": {
            "a": {"$ref": "#/definitions/d"},
            "b": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "d": {"type": "object", "additionalProperties": {"$ref": "#/definitions/d"}},
        }});
        let schema = Schema::new(&schema, &definitions);
        let mut value = json!({"a": {"y": 1}, "b": [{"x": "", "z": 1}], "c": {"q": 1}, "d": {"k": {"u": 1}}, "e": 1});
        let pruned = schema.prune(&mut value);
        assert_eq!(pruned, ["a.y", "b[0].z", "d.k.u", "e"]);
        schema.default(&mut value);
        assert_eq!(
            value,
            json!({"a": {"n": 3}, "b": [{"x": ""}], "c": {"q": 1}, "d": {"k": {"n": 3}}})
        );
    }
}
