//! What resources exist: the built-in ones and those of the stored CustomResourceDefinitions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{at, text};
use crate::store::{Packed, Store};
use crate::{builtins, crd};

/// One table column, as `additionalPrinterColumns` describes it.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) path: String,
}

/// One served version of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) name: String,
    /// Root schema with metadata; `$ref`s point into [`Registry::definitions`].
    pub(crate) schema: Arc<Value>,
    pub(crate) has_status: bool,
    pub(crate) columns: Vec<Column>,
}

/// Where the definition of a resource comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Builtin,
    Custom,
}

/// Whether objects live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    Namespaced,
}

/// A kind of object and how it is served.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) origin: Origin,
    pub(crate) versions: Vec<Version>,
    /// Key of the storage; two groups may share one.
    pub(crate) storage: String,
}

impl Resource {
    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub(crate) fn is(&self, storage: &str) -> bool {
        self.storage == storage
    }

    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }
}

/// Storage key of namespaces.
pub(crate) const NAMESPACES: &str = "/namespaces";
/// Storage key of events, served by two groups.
pub(crate) const EVENTS: &str = "/events";
/// Storage key of CustomResourceDefinitions.
pub(crate) const CRDS: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Group of newer events.
pub(crate) const EVENTS_GROUP: &str = "events.k8s.io";

/// All resources at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) resources: Vec<Arc<Resource>>,
    /// Schemas by their OpenAPI definition name.
    pub(crate) definitions: Arc<Value>,
}

impl Registry {
    /// Reads the definitions stored now.
    pub(crate) fn load(store: &Store) -> Self {
        let definitions = builtins::definitions();
        let mut resources: Vec<Arc<Resource>> = builtins::resources(&definitions).into_iter().map(Arc::new).collect();
        for object in store.list(CRDS, None).1.values().map(Packed::open) {
            if crd::is_established(&object) {
                resources.push(Arc::new(crd::resource(&object)));
            }
        }
        Self { resources, definitions }
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<(Arc<Resource>, usize)> {
        let resource = self.resources.iter().find(|r| r.group == group && r.plural == plural)?;
        let version = resource.versions.iter().position(|v| v.name == version)?;
        Some((Arc::clone(resource), version))
    }

    /// Groups in the order they are announced, each with its versions, preferred first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in &self.resources {
            if !groups.iter().any(|(g, _)| *g == resource.group) {
                groups.push((resource.group.clone(), Vec::new()));
            }
            if let Some((_, versions)) = groups.iter_mut().find(|(g, _)| *g == resource.group) {
                for version in &resource.versions {
                    if !versions.contains(&version.name) {
                        versions.push(version.name.clone());
                    }
                }
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        }
        groups
    }

    pub(crate) fn of_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = (&'a Resource, &'a Version)> {
        self.resources
            .iter()
            .filter(move |r| r.group == group)
            .filter_map(move |r| {
                let found = r.versions.iter().find(|v| v.name == version)?;
                Some((r.as_ref(), found))
            })
    }
}

/// Kubernetes' order of versions: GA over beta over alpha, then the larger number.
fn version_rank(version: &str) -> (u8, u64, u64) {
    let numbers = |text: &str| text.parse::<u64>().ok();
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    for (mark, rank) in [("alpha", 1), ("beta", 2)] {
        if let Some((major, minor)) = rest.split_once(mark) {
            return match (numbers(major), numbers(minor)) {
                (Some(major), Some(minor)) => (rank, major, minor),
                _ => (0, 0, 0),
            };
        }
    }
    numbers(rest).map_or((0, 0, 0), |major| (3, major, 0))
}

/// Printer columns of a version of a CustomResourceDefinition.
pub(crate) fn columns(version: &Value) -> Vec<Column> {
    let list = at(version, &["additionalPrinterColumns"]).and_then(Value::as_array);
    let Some(list) = list.filter(|l| !l.is_empty()) else {
        return vec![age_column()];
    };
    list.iter()
        .map(|c| Column {
            name: text(c, &["name"]).to_owned(),
            kind: text(c, &["type"]).to_owned(),
            format: text(c, &["format"]).to_owned(),
            description: text(c, &["description"]).to_owned(),
            priority: c.get("priority").and_then(Value::as_i64).unwrap_or(0),
            path: text(c, &["jsonPath"]).to_owned(),
        })
        .collect()
}

/// The column every table without its own has.
pub(crate) fn age_column() -> Column {
    Column {
        name: "Age".to_owned(),
        kind: "date".to_owned(),
        format: String::new(),
        description: "CreationTimestamp is a timestamp representing the server time when this object was created."
            .to_owned(),
        priority: 0,
        path: ".metadata.creationTimestamp".to_owned(),
    }
}

/// The schema of anything: used where a version has none.
pub(crate) fn open_schema() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
