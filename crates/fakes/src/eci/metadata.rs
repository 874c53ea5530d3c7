//! The metadata service of an ECS instance, and a credentials URI.

use std::time::Duration;

use serde_json::Value;

use super::fault;
use super::gateway::{State, time_text};
use super::sts::{StsKey, credentials, issue};
use super::wire::{Received, json_reply};
use crate::cloud::Reply;

/// The instance's role.
pub(crate) const ROLE: &str = "imagecache-node-role";
/// Where a credentials URI points to.
pub(crate) const CREDENTIALS: &str = "/credentials";
const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";
const LIFETIME: Duration = Duration::from_secs(6 * 3600);
/// A key is replaced when less than this part of its life is left.
const RENEWED_AT: u32 = 4;

/// Whether the path belongs here rather than to the gateway.
pub(crate) fn serves(path: &str) -> bool {
    path == CREDENTIALS || path.starts_with("/latest/")
}

pub(crate) fn answer(state: &mut State, request: &Received) -> Reply {
    let what = match request.path.as_str() {
        TOKEN => "metadata-token",
        CREDENTIALS => "credentials-uri",
        _ => "metadata",
    };
    *state.calls.entry(what.to_owned()).or_default() += 1;
    let fault = state.faults.take(what);
    let reply = match fault.as_ref().and_then(fault::before) {
        Some(Ok(reply)) => return reply,
        Some(Err(refusal)) => return plain(refusal.status, &refusal.message),
        None if request.path == TOKEN => token(state, request),
        None => key(state, request),
    };
    match fault {
        Some(fault) => fault::after(&fault, reply).unwrap_or_else(|refusal| plain(refusal.status, &refusal.message)),
        None => reply,
    }
}

fn plain(status: u16, text: &str) -> Reply {
    Reply::new(status, "text/plain", text)
}

fn token(state: &mut State, request: &Received) -> Reply {
    let seconds = request
        .header("x-aliyun-ecs-metadata-token-ttl-seconds")
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|seconds| (1..=21_600).contains(seconds));
    match (request.method.as_str(), seconds) {
        ("PUT", Some(seconds)) => {
            let token = state.mint.hex(56);
            let now = state.gateway_now();
            state.sts.metadata_tokens.retain(|(_, ends)| *ends > now);
            state
                .sts
                .metadata_tokens
                .push((token.clone(), now + Duration::from_secs(seconds)));
            state.received_secrets.insert(token.clone());
            plain(200, &token)
        }
        ("PUT", None) => plain(400, "400 - Bad Request"),
        _ => plain(405, "405 - Method Not Allowed"),
    }
}

fn key(state: &mut State, request: &Received) -> Reply {
    if request.method != "GET" {
        return plain(405, "405 - Method Not Allowed");
    }
    if request.path == CREDENTIALS {
        return role_key_reply(state);
    }
    let now = state.gateway_now();
    let given = request.header("x-aliyun-ecs-metadata-token");
    let good = given.map(|given| {
        let mut tokens = state.sts.metadata_tokens.iter();
        tokens.any(|(token, ends)| token == given && *ends > now)
    });
    if good == Some(false) || (good.is_none() && state.sts.token_required) {
        return plain(403, "403 - Forbidden");
    }
    match request.path.strip_prefix(ROLES) {
        Some("") => plain(200, ROLE),
        Some(ROLE) => role_key_reply(state),
        _ => plain(404, "404 - Not Found"),
    }
}

fn role_key_reply(state: &mut State) -> Reply {
    let mut shown = credentials(&role_key(state));
    let now = state.gateway_now();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("Code".to_owned(), Value::from("Success"));
        fields.insert("LastUpdated".to_owned(), Value::from(time_text(now)));
    }
    json_reply(200, &shown)
}

/// The role's key: the same one until its last quarter.
fn role_key(state: &mut State) -> StsKey {
    let lifetime = state.sts.role_lifetime.unwrap_or(LIFETIME);
    let now = state.gateway_now();
    match &state.sts.role_key {
        Some(key) if now + lifetime / RENEWED_AT < key.expires => key.clone(),
        _ => {
            let key = issue(state, lifetime);
            state.sts.role_key = Some(key.clone());
            key
        }
    }
}
