//! Temporary keys: STS 2015-04-01.

use serde_json::{Value, json};

use super::gateway::{Fields, State, seconds, time_text};
use super::params::{Params, invalid};
use crate::cloud::{Refusal, StsKey, issue, knows_token};

pub(crate) const ACTIONS: &[&str] = &["AssumeRole", "AssumeRoleWithOIDC"];

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
        if !knows_token(state, token) {
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
