//! Discovery: which groups, versions and resources there are, plain and aggregated, and access reviews.

use http::{Method, Response, StatusCode, header::ACCEPT};
use serde_json::{Value, json};

use crate::call::Call;
use crate::negotiate::{Body, full, json, respond};
use crate::registry::{Registry, Resource, Version};
use crate::routes::require;
use crate::status::ApiError;

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// What the server says it is; new enough for current clients, no promise of every feature.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": concat!("v1.34.0+standalone-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": concat!("linux/", "amd64"),
    })
}

pub(crate) fn answer(registry: &Registry, call: &Call) -> Result<Response<Body>, ApiError> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    if let ["api" | "apis"] = segments.as_slice() {
        for version in ["v2", "v2beta1"] {
            if asks_for(call, version) {
                let core = segments == ["api"];
                let body = aggregated(registry, core, version).to_string();
                return Ok(respond(StatusCode::OK, content_type(version), full(body)));
            }
        }
    }
    let value = match segments.as_slice() {
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        ["apis"] => {
            let groups: Vec<Value> = registry
                .groups()
                .iter()
                .filter(|(g, _)| !g.is_empty())
                .map(|(g, v)| group(g, v))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", "v1"] => resources(registry, "", "v1"),
        ["apis", name] => {
            let groups = registry.groups();
            let found = groups.iter().find(|(g, _)| g == name).ok_or_else(ApiError::no_route)?;
            let mut value = group(&found.0, &found.1);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            value
        }
        ["apis", name, version] => {
            let groups = registry.groups();
            let served = groups.iter().any(|(g, v)| g == name && v.iter().any(|v| v == version));
            if !served {
                return Err(ApiError::no_route());
            }
            resources(registry, name, version)
        }
        _ => return Err(ApiError::no_route()),
    };
    Ok(json(StatusCode::OK, &value))
}

/// Whether the aggregated form of this version is preferred to the plain one.
fn asks_for(call: &Call, version: &str) -> bool {
    let accept = call.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    accept.split(',').any(|clause| {
        let clause: String = clause.chars().filter(|c| !c.is_whitespace()).collect();
        clause.starts_with("application/json")
            && clause.contains(";g=apidiscovery.k8s.io")
            && clause.contains(";as=APIGroupDiscoveryList")
            && clause.split(';').any(|p| p == format!("v={version}"))
    })
}

fn content_type(version: &str) -> &'static str {
    if version == "v2" {
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    } else {
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    }
}

fn group(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for (resource, served) in registry.of_version(group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.is_namespaced(),
            "kind": resource.kind, "verbs": VERBS,
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        list.push(entry);
        if served.has_status {
            list.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "",
                "namespaced": resource.is_namespaced(), "kind": resource.kind, "verbs": STATUS_VERBS,
            }));
        }
    }
    let version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list})
}

fn aggregated(registry: &Registry, core: bool, api_version: &str) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = registry
                        .of_version(name, version)
                        .map(|(r, v)| discovered(r, v))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if name.is_empty() {
                json!({})
            } else {
                json!({"name": name})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{api_version}"),
        "metadata": {}, "items": items,
    })
}

fn discovered(resource: &Resource, version: &Version) -> Value {
    let kind = json!({"group": resource.group, "version": version.name, "kind": resource.kind});
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind,
        "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": VERBS,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if version.has_status {
        entry["subresources"] = json!([{"subresource": "status", "responseKind": kind, "verbs": STATUS_VERBS}]);
    }
    entry
}

/// Answers access reviews: whoever got this far may do everything.
pub(crate) fn review(call: &Call) -> Result<Response<Body>, ApiError> {
    require(call, &[Method::POST])?;
    let mut object = call.object()?;
    object["status"] = json!({"allowed": true, "reason": "this server allows everything"});
    Ok(json(StatusCode::CREATED, &object))
}
