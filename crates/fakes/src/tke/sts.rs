//! Temporary keys: STS 2018-08-13.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::gateway::{Fields, State};
use super::params::Params;
use super::shape::rfc3339;
use super::verify::SecretKey;
use crate::cloud::{Received, Refusal};

/// The one action that needs no signature.
pub(crate) const UNSIGNED: &str = "AssumeRoleWithWebIdentity";
pub(crate) const ACTIONS: &[&str] = &["AssumeRole", UNSIGNED];
/// What stands in the place of its signature.
const SKIP: &str = "SKIP";
const DEFAULT_SECONDS: u64 = 7_200;
const MOST_SECONDS: u64 = 43_200;

/// What the identity side of the account knows.
#[derive(Debug, Default)]
pub(crate) struct Sts {
    /// The only token that the identity provider signed; any will do when there is none.
    pub(crate) oidc_token: Option<String>,
    /// The key that the machine's role has now.
    pub(crate) role_key: Option<StsKey>,
    /// How long keys of the machine's role are good for.
    pub(crate) role_lifetime: Option<Duration>,
}

/// A temporary key.
#[derive(Clone, PartialEq, Eq)]
pub struct StsKey {
    /// Its id, `TmpSecretId`.
    pub id: String,
    /// Its secret, `TmpSecretKey`.
    pub secret: String,
    /// The token that goes with it.
    pub token: String,
    /// When all of it ends.
    pub expires: Timestamp,
}

impl std::fmt::Debug for StsKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StsKey({}, until {})", self.id, self.expires)
    }
}

/// Makes a key that verifies from now on.
pub(crate) fn issue(state: &mut State, lifetime: Duration) -> StsKey {
    let key = StsKey {
        id: format!("AKID-{}", state.mint.hex(40)),
        secret: format!("tMpSeCrEt{}=", state.mint.hex(32)),
        token: format!("{}-{}_{}", state.mint.hex(48), state.mint.hex(64), state.mint.hex(32)),
        expires: state.now() + lifetime,
    };
    let session = Some((key.token.clone(), key.expires));
    let secret = key.secret.clone();
    state.verifier.add(key.id.clone(), SecretKey { secret, session });
    key
}

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
        let known = state.sts.oidc_token.as_ref().is_none_or(|known| *known == token);
        state.received_secrets.insert(token);
        if !known {
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
