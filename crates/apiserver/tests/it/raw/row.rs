//! One raw request, and what its answer must say.

use http::Method;
use serde_json::Value;

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";
pub const JSON: &str = "application/json";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A request, the status it must get and the parts of the answer that are compared.
pub struct Row {
    pub name: &'static str,
    pub method: Method,
    pub path: &'static str,
    pub content: &'static str,
    pub body: Value,
    pub status: u16,
    /// JSON pointers into the answer.
    pub parts: &'static [&'static str],
}

pub const ERROR: &[&str] = &[
    "/reason",
    "/message",
    "/details/kind",
    "/details/name",
    "/details/group",
    "/details/causes",
];
/// Not compared: 1.20 takes every list of a custom resource as one value in applies, later versions do not.
pub const OURS: &[&str] = &["(ours)"];
pub const REASON: &[&str] = &["/reason", "/details/kind", "/details/name"];

pub fn row(
    name: &'static str,
    request: &'static str,
    content: &'static str,
    body: Value,
    status: u16,
    parts: &'static [&'static str],
) -> Row {
    let (method, path) = request.split_once(' ').unwrap();
    Row {
        name,
        method: method.parse().unwrap(),
        path,
        content,
        body,
        status,
        parts,
    }
}
