//! Temporary keys: STS 2018-08-13.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::gateway::{Fields, State};
use super::params::Params;
use super::shape::rfc3339;
use crate::cloud::{Received, Refusal, StsKey, issue, knows_token};

/// The one action that needs no signature.
pub(crate) const UNSIGNED: &str = "AssumeRoleWithWebIdentity";
pub(crate) const ACTIONS: &[&str] = &["AssumeRole", UNSIGNED];
/// What stands in the place of its signature.
const SKIP: &str = "SKIP";
const DEFAULT_SECONDS: u64 = 7_200;
const MOST_SECONDS: u64 = 43_200;

/// The call that gets a first key carries none, and says so.
pub(crate) fn check_unsigned(request: &Received) -> Result<(), Refusal> {
    match (request.header("authorization"), request.header("x-tc-token")) {
        (Some(SKIP), None) => Ok(()),
        _ => Err(Refusal::new(
            200,
            "AuthFailure.InvalidAuthorization",
            "this action is called with SKIP and no token",
        )),
    }
}

pub(crate) fn call(state: &mut State, action: &str, mut params: Params, now: Timestamp) -> Result<Fields, Refusal> {
    let wrong = |message: &str| Refusal::new(200, "InvalidParameter.ParamError", message);
    let arn = params.required("RoleArn")?;
    if !arn.starts_with("qcs::cam::uin/") || !(arn.contains(":roleName/") || arn.contains(":role/")) {
        return Err(wrong("the role's ARN does not have the documented form"));
    }
    let session = params.required("RoleSessionName")?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "+=,.@_-".contains(letter);
    if !(2..=128).contains(&session.len()) || !session.chars().all(allowed) {
        return Err(wrong("the name of the session is not allowed"));
    }
    let seconds = params
        .number("DurationSeconds", 1..=u64::MAX)?
        .unwrap_or(DEFAULT_SECONDS);
    if seconds > MOST_SECONDS {
        return Err(Refusal::new(
            200,
            "InvalidParameter.OverTimeError",
            "DurationSeconds is too large",
        ));
    }
    if action == UNSIGNED {
        params.required("ProviderId")?;
        let token = params.required("WebIdentityToken")?;
        if !knows_token(state, token) {
            let message = "The web identity token cannot be verified.";
            return Err(Refusal::new(200, "InvalidParameter.WebIdentityTokenError", message));
        }
    } else {
        for name in ["Policy", "ExternalId", "SourceIdentity"] {
            params.text(name)?;
        }
    }
    params.finish()?;
    let key = issue(state, Duration::from_secs(seconds));
    let expires = key.expires.max(now);
    Ok(Fields::from_iter([
        ("Credentials".to_owned(), keys(&key)),
        ("ExpiredTime".to_owned(), json!(expires.as_second())),
        ("Expiration".to_owned(), json!(rfc3339(expires))),
    ]))
}

/// A key as STS and the metadata service print it.
pub(crate) fn keys(key: &StsKey) -> Value {
    json!({
        "TmpSecretId": key.id,
        "TmpSecretKey": key.secret,
        "Token": key.token,
    })
}
