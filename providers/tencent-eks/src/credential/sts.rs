//! Credentials from the Security Token Service (API version 2018-08-13): assumed roles, by signature or by OIDC token.

use std::fmt;
use std::sync::Arc;

use imagecache_cloud_http::source::{OidcIdentity, parse_json, required_secret};
use imagecache_cloud_http::{
    Answer, CallError, Client, ClientConfig, Credential, CredentialError, Credentials, Effect,
};
use imagecache_core::Clock;
use serde::Deserialize;

use super::keys::Keys;
use super::unsigned::{Unsigned, UnsignedCall};
use crate::endpoint::Endpoints;
use crate::params::Parameters;
use crate::protocol::{Product, RpcCall, Tc3};

/// Lifetime of a session: the API's default, and what the vendor's SDKs ask for.
const SECONDS: u32 = 7200;
/// The action that takes an OIDC token.
const BY_TOKEN: &str = "AssumeRoleWithWebIdentity";

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// `qcs::cam::uin/…:roleName/…`.
    pub(super) arn: String,
    /// What the role's trust policy asks for.
    pub(super) external_id: Option<String>,
}

/// A role to assume with an OIDC token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OidcRole {
    pub(super) identity: OidcIdentity,
    /// The cluster's region, if not the one of the rest of the configuration.
    pub(super) region: Option<String>,
}

/// The service as seen from here.
pub(super) struct Sts {
    pub(super) endpoints: Endpoints,
    pub(super) region: String,
    /// Name of every session.
    pub(super) session_name: String,
    pub(super) clock: Clock,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    response: RoleAnswer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleAnswer {
    credentials: Option<Keys>,
    expired_time: Option<i64>,
}

impl Sts {
    /// Assumes `role` as `base`.
    pub(super) async fn assume(
        &self,
        name: &str,
        role: &Role,
        base: Arc<Credentials>,
    ) -> Result<Credential, CredentialError> {
        let tc3 = Tc3::new(self.endpoints.clone(), self.region.as_str());
        let client = Client::new(tc3, base, ClientConfig::for_credentials(), Arc::clone(&self.clock));
        let mut parameters = self.parameters(&role.arn);
        parameters.set_some("ExternalId", role.external_id.as_deref());
        let call = RpcCall {
            product: Product::Sts,
            action: "AssumeRole",
            effect: Effect::Repeatable,
            parameters,
        };
        let answer = client.call(&call).await;
        credential(name, &role.arn, answer, "cannot be assumed")
    }

    /// Assumes a role with the OIDC token that its file holds now.
    pub(super) async fn exchange(&self, name: &str, oidc: &OidcRole) -> Result<Credential, CredentialError> {
        let OidcIdentity {
            provider,
            token_file,
            role,
        } = &oidc.identity;
        let token = required_secret(name, token_file).await?;
        let mut parameters = self.parameters(role);
        parameters.set("ProviderId", provider.as_str());
        parameters.set("WebIdentityToken", token.expose().as_str());
        let call = UnsignedCall {
            action: BY_TOKEN,
            url: self.endpoints.url(Product::Sts).clone(),
            region: oidc.region.as_ref().unwrap_or(&self.region).clone(),
            parameters,
        };
        let bearer = Arc::new(Credentials::bearer(name, token, Arc::clone(&self.clock)));
        let client = Client::new(
            Unsigned,
            bearer,
            ClientConfig::for_credentials(),
            Arc::clone(&self.clock),
        );
        let answer = client.call(&call).await;
        let failed = format!("cannot be assumed with the OIDC token in `{}`", token_file.display());
        credential(name, role, answer, &failed)
    }

    fn parameters(&self, arn: &str) -> Parameters {
        let mut parameters = Parameters::new();
        parameters.set("RoleArn", arn);
        parameters.set("RoleSessionName", self.session_name.as_str());
        parameters.set("DurationSeconds", SECONDS);
        parameters
    }
}

impl fmt::Debug for Sts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sts")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The credential for role `arn` in what the service answered.
fn credential(
    name: &str,
    arn: &str,
    answer: Result<Answer, CallError>,
    failed: &str,
) -> Result<Credential, CredentialError> {
    let answer = answer.map_err(|error| CredentialError::of_call(error, name, format!("role `{arn}` {failed}")))?;
    let wrong = |what: String| CredentialError::invalid(name, format!("STS's answer for role `{arn}` {what}"));
    let envelope: Envelope = parse_json(&answer.body).map_err(|what| wrong(format!("is {what}")))?;
    let RoleAnswer {
        credentials,
        expired_time,
    } = envelope.response;
    let keys = credentials.ok_or_else(|| wrong("holds no credential".to_owned()))?;
    let found = keys.credential(expired_time);
    found.map_err(|what| wrong(format!("holds no whole credential: {what}")))
}
