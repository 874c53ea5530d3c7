//! The built-in resources: their names, table columns and schemas (taken from `k8s-openapi`).

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::{coordination, core, events};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, ObjectMeta, Status};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::registry::{CRDS, Column, EVENTS, EVENTS_GROUP, NAMESPACES, Origin, Resource, Scope, Version, age_column};

struct Builtin {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
    has_status: bool,
    definition: &'static str,
    /// `name:type:priority:path`; an age column follows unless one is there.
    columns: &'static [&'static str],
}

const CORE: &str = "io.k8s.api.core.v1.";

const BUILTINS: &[Builtin] = &[
    Builtin {
        group: "",
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        categories: &[],
        scope: Scope::Cluster,
        has_status: true,
        definition: "io.k8s.api.core.v1.Namespace",
        columns: &["Status:string:0:.status.phase"],
    },
    Builtin {
        group: "",
        kind: "Secret",
        plural: "secrets",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        definition: "io.k8s.api.core.v1.Secret",
        columns: &["Type:string:0:.type", "Data:count:0:.data"],
    },
    Builtin {
        group: "",
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        definition: "io.k8s.api.core.v1.ConfigMap",
        columns: &["Data:count:0:.data"],
    },
    Builtin {
        group: "",
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        categories: &["all"],
        scope: Scope::Namespaced,
        has_status: true,
        definition: "io.k8s.api.core.v1.Pod",
        columns: &[
            "Ready:ready:0:.",
            "Status:string:0:.status.phase",
            "Restarts:restarts:0:.",
            "Age:date:0:.metadata.creationTimestamp",
            "IP:string:1:.status.podIP",
            "Node:string:1:.spec.nodeName",
        ],
    },
    Builtin {
        group: "",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        definition: "io.k8s.api.core.v1.ServiceAccount",
        columns: &["Secrets:count:0:.secrets"],
    },
    Builtin {
        group: "",
        kind: "Event",
        plural: "events",
        short: &["ev"],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        definition: "io.k8s.api.core.v1.Event",
        columns: EVENT_COLUMNS,
    },
    Builtin {
        group: EVENTS_GROUP,
        kind: "Event",
        plural: "events",
        short: &["ev"],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        definition: "io.k8s.api.events.v1.Event",
        columns: EVENT_COLUMNS,
    },
    Builtin {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        definition: "io.k8s.api.coordination.v1.Lease",
        columns: &["Holder:string:0:.spec.holderIdentity"],
    },
    Builtin {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        has_status: true,
        definition: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        columns: &["Created At:string:0:.metadata.creationTimestamp"],
    },
];

/// Read from the stored (core/v1) form, whichever group asks.
const EVENT_COLUMNS: &[&str] = &[
    "Last Seen:seen:0:.",
    "Type:string:0:.type",
    "Reason:string:0:.reason",
    "Object:involved:0:.",
    "Message:string:0:.message",
    "First Seen:date:1:.firstTimestamp",
    "Count:string:1:.count",
    "Name:string:1:.metadata.name",
];

/// Lists merged by key: (definition, field, patch merge key, further keys that identify an item).
/// From the patch and list-type marks of Kubernetes' published OpenAPI, which `k8s-openapi` leaves out.
const KEYED_LISTS: &[(&str, &str, &str, &[&str])] = &[
    ("io.k8s.api.core.v1.Container", "env", "name", &[]),
    ("io.k8s.api.core.v1.Container", "ports", "containerPort", &["protocol"]),
    ("io.k8s.api.core.v1.Container", "volumeDevices", "devicePath", &[]),
    ("io.k8s.api.core.v1.Container", "volumeMounts", "mountPath", &[]),
    ("io.k8s.api.core.v1.EphemeralContainer", "env", "name", &[]),
    (
        "io.k8s.api.core.v1.EphemeralContainer",
        "volumeMounts",
        "mountPath",
        &[],
    ),
    ("io.k8s.api.core.v1.NamespaceStatus", "conditions", "type", &[]),
    ("io.k8s.api.core.v1.PodSpec", "containers", "name", &[]),
    ("io.k8s.api.core.v1.PodSpec", "ephemeralContainers", "name", &[]),
    ("io.k8s.api.core.v1.PodSpec", "hostAliases", "ip", &[]),
    ("io.k8s.api.core.v1.PodSpec", "imagePullSecrets", "name", &[]),
    ("io.k8s.api.core.v1.PodSpec", "initContainers", "name", &[]),
    (
        "io.k8s.api.core.v1.PodSpec",
        "topologySpreadConstraints",
        "topologyKey",
        &["whenUnsatisfiable"],
    ),
    ("io.k8s.api.core.v1.PodSpec", "volumes", "name", &[]),
    ("io.k8s.api.core.v1.PodStatus", "conditions", "type", &[]),
    ("io.k8s.api.core.v1.PodStatus", "podIPs", "ip", &[]),
    ("io.k8s.api.core.v1.ServiceAccount", "secrets", "name", &[]),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "ownerReferences",
        "uid",
        &[],
    ),
];

/// Lists merged as sets of scalars.
const SET_LISTS: &[(&str, &str)] = &[("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers")];

/// Types that are plain JSON on the wire.
const OPEN_TYPES: &[&str] = &[
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

/// Types whose objects are replaced as one.
const ATOMIC_MAPS: &[&str] = &[
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Definition name of the metadata every object has.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Prefix of a reference to a definition.
pub(crate) const REFERENCE: &str = "#/definitions/";

/// OpenAPI definitions of all built-in types.
pub(crate) fn definitions() -> Arc<Value> {
    static DEFINITIONS: OnceLock<Arc<Value>> = OnceLock::new();
    Arc::clone(DEFINITIONS.get_or_init(|| Arc::new(generate())))
}

fn generate() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let _ = generator.subschema_for::<core::v1::Namespace>();
    let _ = generator.subschema_for::<core::v1::Secret>();
    let _ = generator.subschema_for::<core::v1::ConfigMap>();
    let _ = generator.subschema_for::<core::v1::Pod>();
    let _ = generator.subschema_for::<core::v1::ServiceAccount>();
    let _ = generator.subschema_for::<core::v1::Event>();
    let _ = generator.subschema_for::<events::v1::Event>();
    let _ = generator.subschema_for::<coordination::v1::Lease>();
    let _ = generator.subschema_for::<CustomResourceDefinition>();
    let _ = generator.subschema_for::<ObjectMeta>();
    let _ = generator.subschema_for::<ListMeta>();
    let _ = generator.subschema_for::<Status>();
    let _ = generator.subschema_for::<DeleteOptions>();
    let mut all = Value::Object(generator.take_definitions(true).into_iter().collect());
    mark(&mut all);
    for builtin in BUILTINS {
        all[builtin.definition]["x-kubernetes-group-version-kind"] =
            json!([{"group": builtin.group, "version": "v1", "kind": builtin.kind}]);
    }
    all
}

fn mark(all: &mut Value) {
    for (definition, field, key, more) in KEYED_LISTS {
        let Some(list) = all.get_mut(*definition).and_then(|d| d["properties"].get_mut(*field)) else {
            continue;
        };
        let keys: Vec<&str> = std::iter::once(*key).chain(more.iter().copied()).collect();
        list["x-kubernetes-list-type"] = "map".into();
        list["x-kubernetes-list-map-keys"] = json!(keys);
        list["x-kubernetes-patch-merge-key"] = (*key).into();
        list["x-kubernetes-patch-strategy"] = if *field == "volumes" {
            "merge,retainKeys"
        } else {
            "merge"
        }
        .into();
    }
    for (definition, field) in SET_LISTS {
        let Some(list) = all.get_mut(*definition).and_then(|d| d["properties"].get_mut(*field)) else {
            continue;
        };
        list["x-kubernetes-list-type"] = "set".into();
        list["x-kubernetes-patch-strategy"] = "merge".into();
    }
    for definition in ATOMIC_MAPS {
        if let Some(map) = all.get_mut(*definition) {
            map["x-kubernetes-map-type"] = "atomic".into();
        }
    }
    // These hold any JSON, whatever type their schema names.
    for definition in OPEN_TYPES {
        if let Some(open) = all.get_mut(*definition) {
            *open = json!({"description": open["description"], "x-kubernetes-preserve-unknown-fields": true});
        }
    }
    // An item of `ports` without a protocol is a TCP one, also as a list key.
    if let Some(port) = all.get_mut(format!("{CORE}ContainerPort")) {
        port["properties"]["protocol"]["default"] = "TCP".into();
    }
}

/// The built-in resources, in the order they are announced.
pub(crate) fn resources(definitions: &Value) -> Vec<Resource> {
    BUILTINS.iter().map(|b| resource(b, definitions)).collect()
}

fn resource(builtin: &Builtin, definitions: &Value) -> Resource {
    let mut columns: Vec<Column> = builtin.columns.iter().map(|c| column(c)).collect();
    if builtin.group != "apiextensions.k8s.io" && !columns.iter().any(|c| c.name == "Age" || c.name == "Last Seen") {
        columns.push(age_column());
    }
    let storage = match (builtin.group, builtin.plural) {
        (_, "namespaces") => NAMESPACES.to_owned(),
        (_, "events") => EVENTS.to_owned(),
        (_, "customresourcedefinitions") => CRDS.to_owned(),
        (group, plural) => format!("{group}/{plural}"),
    };
    Resource {
        group: builtin.group.to_owned(),
        plural: builtin.plural.to_owned(),
        singular: builtin.kind.to_lowercase(),
        kind: builtin.kind.to_owned(),
        list_kind: format!("{}List", builtin.kind),
        short_names: builtin.short.iter().map(|s| (*s).to_owned()).collect(),
        categories: builtin.categories.iter().map(|s| (*s).to_owned()).collect(),
        scope: builtin.scope,
        origin: Origin::Builtin,
        versions: vec![Version {
            name: "v1".to_owned(),
            schema: Arc::new(definitions[builtin.definition].clone()),
            has_status: builtin.has_status,
            columns,
        }],
        storage,
    }
}

fn column(text: &str) -> Column {
    let mut parts = text.splitn(4, ':');
    let mut next = || parts.next().unwrap_or("").to_owned();
    let (name, kind, priority, path) = (next(), next(), next(), next());
    Column {
        name,
        kind,
        format: String::new(),
        description: String::new(),
        priority: i64::from(priority == "1"),
        path,
    }
}
