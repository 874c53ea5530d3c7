//! Sets of field paths, as `managedFields` records them (`FieldsV1`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// Item of a keyed list, by its keys.
    Key(BTreeMap<String, Text>),
    /// Item of a set, by its value.
    Item(Text),
}

/// A scalar as JSON text, which orders and compares well.
pub(crate) type Text = String;

impl Step {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Item(text) => format!("v:{text}"),
            Self::Key(keys) => format!("k:{}", key_text(keys)),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "v" => Some(Self::Item(serde_json::from_str::<Value>(rest).ok()?.to_string())),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::Key(keys.into_iter().map(|(k, v)| (k, v.to_string())).collect()))
            }
            _ => None,
        }
    }

    /// As conflicts print it.
    fn print(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Item(text) => format!("[={text}]"),
            Self::Key(keys) => {
                let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("[{}]", parts.join(","))
            }
        }
    }
}

fn key_text(keys: &BTreeMap<String, Text>) -> String {
    let parts: Vec<String> = keys
        .iter()
        .map(|(k, v)| format!("{}:{v}", Value::from(k.as_str())))
        .collect();
    format!("{{{}}}", parts.join(","))
}

/// A set of paths, as a tree: a node is a member, has members below, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    pub(crate) is_member: bool,
    pub(crate) children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    pub(crate) fn leaf() -> Self {
        Self {
            is_member: true,
            children: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.is_member && self.children.values().all(Self::is_empty)
    }

    pub(crate) fn child(&mut self, step: Step) -> &mut Self {
        self.children.entry(step).or_default()
    }

    pub(crate) fn get(&self, step: &Step) -> Option<&Self> {
        self.children.get(step)
    }

    pub(crate) fn union(&mut self, other: &Self) {
        self.is_member |= other.is_member;
        for (step, theirs) in &other.children {
            self.child(step.clone()).union(theirs);
        }
    }

    /// Members of `self` that are not members of `other`.
    #[must_use]
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut left = Self {
            is_member: self.is_member && !other.is_member,
            children: BTreeMap::new(),
        };
        for (step, mine) in &self.children {
            let rest = other
                .get(step)
                .map_or_else(|| mine.clone(), |theirs| mine.minus(theirs));
            if !rest.is_empty() {
                left.children.insert(step.clone(), rest);
            }
        }
        left
    }

    /// Members of both.
    #[must_use]
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut both = Self {
            is_member: self.is_member && other.is_member,
            children: BTreeMap::new(),
        };
        for (step, mine) in &self.children {
            if let Some(theirs) = other.get(step) {
                let shared = mine.and(theirs);
                if !shared.is_empty() {
                    both.children.insert(step.clone(), shared);
                }
            }
        }
        both
    }

    /// All members as text, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        if self.is_member {
            paths.push(path.to_owned());
        }
        for (step, child) in &self.children {
            child.collect(&format!("{path}{}", step.print()), paths);
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.is_member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, child) in self.children.iter().filter(|(_, c)| !c.is_empty()) {
            map.insert(step.encode(), child.to_value());
        }
        Value::Object(map)
    }

    /// Reads `FieldsV1`; steps it does not know are left out.
    pub(crate) fn from_value(value: &Value) -> Self {
        let mut set = Self::read(value);
        set.is_member = false;
        set
    }

    fn read(value: &Value) -> Self {
        let Some(map) = value.as_object() else {
            return Self::leaf();
        };
        let mut set = Self {
            is_member: map.is_empty() || map.contains_key("."),
            children: BTreeMap::new(),
        };
        for (name, child) in map {
            if let Some(step) = Step::decode(name) {
                set.children.insert(step, Self::read(child));
            }
        }
        set
    }
}
