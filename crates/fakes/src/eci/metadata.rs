//! The metadata service of an ECS instance, and a credentials URI.

use std::time::Duration;

use serde_json::Value;

use super::gateway::{State, time_text};
use super::sts::credentials;
use super::wire::json_reply;
use crate::cloud::metadata::{ROLE, plain, served};
use crate::cloud::{Received, Reply, role_key};

/// Where a credentials URI points to.
pub(crate) const CREDENTIALS: &str = "/credentials";
const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";

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
    served(state, what, |state| match request.path.as_str() {
        TOKEN => token(state, request),
        _ => key(state, request),
    })
}

fn token(state: &mut State, request: &Received) -> Reply {
    let seconds = request
        .header("x-aliyun-ecs-metadata-token-ttl-seconds")
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|seconds| (1..=21_600).contains(seconds));
    match (request.method.as_str(), seconds) {
        ("PUT", Some(seconds)) => {
            let token = state.mint.hex(56);
            let now = state.now();
            let tokens = &mut state.own.metadata_tokens;
            tokens.retain(|(_, ends)| *ends > now);
            tokens.push((token.clone(), now + Duration::from_secs(seconds)));
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
    let now = state.now();
    let given = request.header("x-aliyun-ecs-metadata-token");
    let good = given.map(|given| {
        let mut tokens = state.own.metadata_tokens.iter();
        tokens.any(|(token, ends)| token == given && *ends > now)
    });
    if good == Some(false) || (good.is_none() && state.own.token_required) {
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
    let now = state.now();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("Code".to_owned(), Value::from("Success"));
        fields.insert("LastUpdated".to_owned(), Value::from(time_text(now)));
    }
    json_reply(200, &shown)
}
