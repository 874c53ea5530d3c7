//! The metadata service of a machine with a role.

use std::time::Duration;

use serde_json::json;

use super::gateway::{State, spoil};
use super::shape::rfc3339;
use super::sts::{StsKey, issue, keys};
use crate::cloud::{Fault, Received, Reply};

/// The machine's role.
pub(crate) const ROLE: &str = "imagecache-node-role";
const ROLES: &str = "/latest/meta-data/cam/security-credentials/";
const LIFETIME: Duration = Duration::from_secs(6 * 3600);
/// A key is replaced when less than this part of its life is left.
const RENEWED_AT: u32 = 4;

/// Whether the path belongs here rather than to the gateway.
pub(crate) fn serves(path: &str) -> bool {
    path.starts_with("/latest/")
}

pub(crate) fn answer(state: &mut State, request: &Received) -> Reply {
    *state.calls.entry("metadata".to_owned()).or_default() += 1;
    let fault = state.faults.take("metadata");
    match &fault {
        Some(Fault::ServerErrorBefore) => return plain(503, "503 - Service Unavailable"),
        Some(Fault::NoAnswerBefore) => return Reply::never(),
        Some(Fault::Throttled { .. }) => return plain(429, "429 - Too Many Requests"),
        Some(Fault::Refuse { status, message, .. }) => return plain(*status, message),
        _ => {}
    }
    let reply = match (request.method.as_str(), request.path.strip_prefix(ROLES)) {
        ("GET", Some("")) => plain(200, ROLE),
        ("GET", Some(ROLE)) => role_key_reply(state),
        ("GET", _) => plain(404, "404 - Not Found"),
        _ => plain(405, "405 - Method Not Allowed"),
    };
    match fault {
        Some(Fault::ServerErrorAfter) => plain(500, "500 - Internal Server Error"),
        Some(fault) => spoil(&fault, reply),
        None => reply,
    }
}

fn plain(status: u16, text: &str) -> Reply {
    Reply::new(status, "text/plain", text)
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

/// The role's key: the same one until its last quarter.
fn role_key(state: &mut State) -> StsKey {
    let lifetime = state.sts.role_lifetime.unwrap_or(LIFETIME);
    let now = state.now();
    match &state.sts.role_key {
        Some(key) if now + lifetime / RENEWED_AT < key.expires => key.clone(),
        _ => {
            let key = issue(state, lifetime);
            state.sts.role_key = Some(key.clone());
            key
        }
    }
}
