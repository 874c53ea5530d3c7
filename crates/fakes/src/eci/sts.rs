//! Temporary keys: STS 2015-04-01.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::gateway::{Fields, State, seconds, time_text};
use super::params::{Params, invalid};
use super::verify::AccessKey;
use super::wire::Refusal;

pub(crate) const ACTIONS: &[&str] = &["AssumeRole", "AssumeRoleWithOIDC"];

/// What the identity side of the account knows.
#[derive(Default)]
pub(crate) struct Sts {
    /// The only token that the identity provider signed; any will do when there is none.
    pub(crate) oidc_token: Option<String>,
    /// The key that the instance role has now.
    pub(crate) role_key: Option<StsKey>,
    /// How long keys of the instance role are good for.
    pub(crate) role_lifetime: Option<Duration>,
    /// The metadata service answers only with a session token.
    pub(crate) token_required: bool,
    /// Session tokens of the metadata service, and when they end.
    pub(crate) metadata_tokens: Vec<(String, Timestamp)>,
}

/// A temporary key.
#[derive(Clone, PartialEq, Eq)]
pub struct StsKey {
    /// Access key id.
    pub id: String,
    /// Access key secret.
    pub secret: String,
    /// Security token.
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
        id: format!("STS.{}", state.mint.hex(24)),
        secret: format!("sTsSecret{}", state.mint.hex(32)),
        token: format!("CAIS{}/+{}==", state.mint.hex(64), state.mint.hex(64)),
        expires: state.gateway_now() + lifetime,
    };
    let session = Some((key.token.clone(), key.expires));
    let secret = key.secret.clone();
    state.verifier.add(key.id.clone(), AccessKey { secret, session });
    key
}

pub(crate) fn call(state: &mut State, action: &str, mut params: Params) -> Result<Fields, Refusal> {
    let arn = params.required("RoleArn")?;
    if !arn.starts_with("acs:ram::") || !arn.contains(":role/") {
        return Err(invalid("RoleArn", "the role's ARN does not have the documented form"));
    }
    let session = params.required("RoleSessionName")?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".@-_=".contains(letter);
    if !(2..=64).contains(&session.len()) || !session.chars().all(allowed) {
        return Err(invalid("RoleSessionName", "the name of the session is not allowed"));
    }
    let lifetime = params.number("DurationSeconds", 900..=43_200)?.unwrap_or(3_600);
    params.text("Policy");
    if action == "AssumeRole" {
        params.text("ExternalId");
    } else {
        params.required("OIDCProviderArn")?;
        let token = params.required("OIDCToken")?;
        let known = state.sts.oidc_token.as_ref().is_none_or(|known| *known == token);
        state.received_secrets.insert(token);
        if !known {
            let message = "This JWT token can not be verified.";
            return Err(Refusal::new(400, "AuthenticationFail.OIDCToken.Invalid", message));
        }
    }
    params.finish()?;
    let key = issue(state, seconds(lifetime));
    let user = json!({
        "AssumedRoleId": format!("34458433936495****:{session}"),
        "Arn": format!("{}/{session}", arn.replace(":role/", ":assumed-role/")),
    });
    Ok(Fields::from_iter([
        ("AssumedRoleUser".to_owned(), user),
        ("Credentials".to_owned(), credentials(&key)),
    ]))
}

/// A key as STS, the metadata service and a credentials URI print it.
pub(crate) fn credentials(key: &StsKey) -> Value {
    json!({
        "AccessKeyId": key.id,
        "AccessKeySecret": key.secret,
        "SecurityToken": key.token,
        "Expiration": time_text(key.expires),
    })
}
