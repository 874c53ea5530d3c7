//! The metadata service of a machine with a role.

use serde_json::json;

use super::gateway::State;
use super::shape::rfc3339;
use super::sts::keys;
use crate::cloud::metadata::{ROLE, plain, served};
use crate::cloud::{Received, Reply, role_key};

const ROLES: &str = "/latest/meta-data/cam/security-credentials/";

/// Whether the path belongs here rather than to the gateway.
pub(crate) fn serves(path: &str) -> bool {
    path.starts_with("/latest/")
}

pub(crate) fn answer(state: &mut State, request: &Received) -> Reply {
    served(state, "metadata", |state| {
        match (request.method.as_str(), request.path.strip_prefix(ROLES)) {
            ("GET", Some("")) => plain(200, ROLE),
            ("GET", Some(ROLE)) => role_key_reply(state),
            ("GET", _) => plain(404, "404 - Not Found"),
            _ => plain(405, "405 - Method Not Allowed"),
        }
    })
}

fn role_key_reply(state: &mut State) -> Reply {
    let key = role_key(state);
    let mut shown = keys(&key);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("Code".to_owned(), json!("Success"));
        fields.insert("ExpiredTime".to_owned(), json!(key.expires.as_second()));
        fields.insert("Expiration".to_owned(), json!(rfc3339(key.expires)));
    }
    Reply::new(200, "text/plain; charset=utf-8", shown.to_string())
}
