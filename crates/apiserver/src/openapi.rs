//! OpenAPI documents: v2 as JSON and protobuf, v3 as an index and one document per group and version.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use http::{Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::builtins::REFERENCE;
use crate::call::Call;
use crate::negotiate::{Body, full, json, respond};
use crate::proto;
use crate::registry::{Registry, Resource, Version};
use crate::routes::require;
use crate::status::ApiError;

/// Go refuses to parse the media type that clients ask for, so the real server answers with this one.
const PROTOBUF: &str = "application/octet-stream";
const REFERENCE_V3: &str = "#/components/schemas/";
const GVK: &str = "x-kubernetes-group-version-kind";

/// What distinguishes the two dialects of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

pub(crate) fn answer(registry: &Registry, call: &Call) -> Result<Response<Body>, ApiError> {
    require(call, &[Method::GET, Method::HEAD])?;
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["openapi", "v2"] => {
            let document = v2(registry);
            if call.header(header::ACCEPT).contains("openapi.spec.v2@v1.0+protobuf") {
                return Ok(respond(StatusCode::OK, PROTOBUF, full(proto::document(&document))));
            }
            Ok(json(StatusCode::OK, &document))
        }
        ["openapi", "v3"] => Ok(json(StatusCode::OK, &index(registry))),
        ["openapi", "v3", "api", "v1"] => Ok(json(StatusCode::OK, &v3(registry, "", "v1"))),
        ["openapi", "v3", "apis", group, version] if registry.of_version(group, version).next().is_some() => {
            Ok(json(StatusCode::OK, &v3(registry, group, version)))
        }
        _ => Err(ApiError::no_route()),
    }
}

/// `group` reversed, as Kubernetes names the definitions of custom resources.
fn definition_name(resource: &Resource, version: &Version) -> String {
    let mut parts: Vec<&str> = resource.group.split('.').rev().collect();
    parts.push(&version.name);
    parts.push(&resource.kind);
    parts.join(".")
}

fn v2(registry: &Registry) -> Value {
    let mut definitions = Map::new();
    for (name, schema) in registry.definitions.as_object().into_iter().flatten() {
        definitions.insert(name.clone(), dialect(schema, Dialect::V2));
    }
    let mut paths = Map::new();
    for resource in &registry.resources {
        for version in &resource.versions {
            if !is_builtin(registry, version) {
                let schema = dialect(&version.schema, Dialect::V2);
                definitions.insert(definition_name(resource, version), schema);
            }
            add_paths(&mut paths, resource, version);
        }
    }
    json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.34.0"}, "paths": paths, "definitions": definitions,
    })
}

/// Built-in schemas are copies of a definition.
fn is_builtin(registry: &Registry, version: &Version) -> bool {
    let kinds = version.schema.get(GVK);
    registry
        .definitions
        .as_object()
        .is_some_and(|d| d.values().any(|s| s.get(GVK) == kinds))
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let mut hasher = DefaultHasher::new();
            v3(registry, &group, &version).to_string().hash(&mut hasher);
            let url = format!("/openapi/v3/{path}?hash={:016X}", hasher.finish());
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn v3(registry: &Registry, group: &str, version: &str) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for (resource, served) in registry.of_version(group, version) {
        let name = registry
            .definitions
            .as_object()
            .and_then(|d| d.iter().find(|(_, s)| s.get(GVK) == served.schema.get(GVK)))
            .map_or_else(|| definition_name(resource, served), |(name, _)| name.clone());
        collect(registry, &name, &served.schema, &mut schemas);
        add_paths(&mut paths, resource, served);
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.34.0"}, "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// Adds a schema and all it refers to.
fn collect(registry: &Registry, name: &str, schema: &Value, schemas: &mut Map<String, Value>) {
    if schemas.contains_key(name) {
        return;
    }
    let converted = dialect(schema, Dialect::V3);
    let mut names = Vec::new();
    references(&converted, &mut names);
    schemas.insert(name.to_owned(), converted);
    for name in names {
        if let Some(schema) = registry.definitions.get(&name) {
            collect(registry, &name, schema, schemas);
        }
    }
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|r| r.strip_prefix(REFERENCE_V3))
            {
                names.push(name.to_owned());
            }
            map.values().for_each(|v| references(v, names));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, names)),
        _ => {}
    }
}

/// The schema in a form the clients' parsers of that dialect read.
fn dialect(schema: &Value, to: Dialect) -> Value {
    let Value::Object(map) = schema else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (name, value) in map {
        match (name.as_str(), value) {
            ("$ref", Value::String(reference)) if to == Dialect::V3 => {
                let reference = reference.replacen(REFERENCE, REFERENCE_V3, 1);
                out.insert("allOf".to_owned(), json!([{"$ref": reference}]));
            }
            ("allOf", Value::Array(all)) if to == Dialect::V2 => {
                if let Some(reference) = all.first().and_then(|a| a.get("$ref")) {
                    out.insert("$ref".to_owned(), reference.clone());
                }
            }
            ("allOf", Value::Array(all)) => {
                out.insert("allOf".to_owned(), all.iter().map(refer).collect::<Vec<_>>().into());
            }
            ("anyOf" | "oneOf" | "not" | "nullable", _) if to == Dialect::V2 => {}
            ("type", Value::Array(kinds)) => {
                if let Some(kind) = kinds.iter().find(|k| *k != "null") {
                    out.insert("type".to_owned(), kind.clone());
                }
            }
            ("properties", Value::Object(fields)) => {
                let fields: Map<String, Value> = fields.iter().map(|(k, v)| (k.clone(), dialect(v, to))).collect();
                out.insert(name.clone(), fields.into());
            }
            ("items" | "additionalProperties", Value::Object(_)) => {
                out.insert(name.clone(), dialect(value, to));
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    if to == Dialect::V2 && out.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        out.remove("properties");
        out.remove("required");
    }
    if out.get("additionalProperties").is_some_and(Value::is_boolean) {
        out.remove("additionalProperties");
    }
    out.into()
}

fn refer(schema: &Value) -> Value {
    let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
        return schema.clone();
    };
    json!({"$ref": reference.replacen(REFERENCE, REFERENCE_V3, 1)})
}

/// The paths of a resource, with as much as clients look up: the kind and the parameters of each operation.
fn add_paths(paths: &mut Map<String, Value>, resource: &Resource, version: &Version) {
    let kind = json!({"group": resource.group, "version": version.name, "kind": resource.kind});
    let root = if resource.group.is_empty() {
        "/api".to_owned()
    } else {
        format!("/apis/{}", resource.group)
    };
    let scope = if resource.is_namespaced() {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!("{root}/{}{scope}/{}", version.name, resource.plural);
    let operation = |action: &str, parameters: &[&str]| {
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|p| json!({"name": p, "in": "query", "schema": {"type": "string"}, "type": "string", "uniqueItems": true}))
            .collect();
        json!({
            "responses": {"200": {"description": "OK"}}, "parameters": parameters,
            "x-kubernetes-action": action, GVK: kind,
        })
    };
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    paths.insert(
        collection.clone(),
        json!({"get": operation("list", &["labelSelector", "fieldSelector"]), "post": operation("post", &write)}),
    );
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation("get", &[]), "put": operation("put", &write), "delete": operation("delete", &["dryRun"]),
            "patch": operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force"]),
        }),
    );
}
