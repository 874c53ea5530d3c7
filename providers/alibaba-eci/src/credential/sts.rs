//! Credentials from the Security Token Service (API version 2015-04-01): assumed roles, by signature or by OIDC token.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use imagecache_cloud_http::source::{parse_json, required_secret};
use imagecache_cloud_http::{Client, ClientConfig, Credential, CredentialError, Credentials, Effect};
use imagecache_core::Clock;
use serde::Deserialize;

use super::keys::Keys;
use super::unsigned::{Unsigned, UnsignedCall};
use crate::endpoint::{Endpoints, Network};
use crate::params::Parameters;
use crate::protocol::{Acs3, Product, RpcCall};

/// Lifetime of a session unless a profile says otherwise: the longest that every role allows.
const DEFAULT_SECONDS: u32 = 3600;

/// A role to assume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Role {
    /// `acs:ram::…:role/…`.
    pub(super) arn: String,
    /// Name of the session; empty is ours.
    pub(super) session_name: String,
    /// What the role's trust policy asks for.
    pub(super) external_id: Option<String>,
    /// Lifetime in seconds.
    pub(super) seconds: Option<u32>,
    /// A policy that narrows the session.
    pub(super) policy: Option<String>,
    /// Where to ask, if not where the rest of the configuration says.
    pub(super) region: Option<String>,
    /// Whether to ask inside the VPC, if the profile says so.
    pub(super) vpc: bool,
}

/// A role to assume with an OIDC token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OidcRole {
    pub(super) role: Role,
    /// `acs:ram::…:oidc-provider/…`.
    pub(super) provider_arn: String,
    /// File that holds the token; whoever writes it renews it.
    pub(super) token_file: PathBuf,
}

/// The service as seen from here.
pub(super) struct Sts {
    pub(super) region: String,
    pub(super) network: Network,
    /// Endpoint of the user's own.
    pub(super) endpoint: Option<String>,
    /// Name of a session for which none was chosen.
    pub(super) session_name: String,
    pub(super) clock: Clock,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleAnswer {
    credentials: Option<Keys>,
}

impl Sts {
    /// Assumes `role` as `base`.
    pub(super) async fn assume(
        &self,
        name: &str,
        role: &Role,
        base: Arc<Credentials>,
    ) -> Result<Credential, CredentialError> {
        let acs3 = Acs3::new(self.endpoints(name, role)?);
        let client = Client::new(acs3, base, ClientConfig::for_credentials(), Arc::clone(&self.clock));
        let mut parameters = self.parameters(role);
        parameters.set_some("ExternalId", role.external_id.as_ref());
        let call = RpcCall {
            product: Product::Sts,
            action: "AssumeRole",
            effect: Effect::Repeatable,
            parameters,
        };
        let answer = client
            .call(&call)
            .await
            .map_err(|error| CredentialError::of_call(error, name, format!("role `{}` cannot be assumed", role.arn)))?;
        credential(name, &role.arn, &answer.body)
    }

    /// Assumes a role with the OIDC token that its file holds now.
    pub(super) async fn exchange(&self, name: &str, oidc: &OidcRole) -> Result<Credential, CredentialError> {
        let role = &oidc.role;
        let token = required_secret(name, &oidc.token_file).await?;
        let mut url = self.endpoints(name, role)?.url(Product::Sts).clone();
        let mut query = Parameters::new();
        query.set("Action", "AssumeRoleWithOIDC");
        query.set("Version", Product::Sts.version());
        query.set("Format", "JSON");
        query.set("Timestamp", (self.clock)().strftime("%Y-%m-%dT%H:%M:%SZ"));
        url.set_query(Some(&query.wire_query()));
        let mut form = self.parameters(role);
        form.set("OIDCProviderArn", &oidc.provider_arn);
        // In the body: URLs end up in logs.
        form.set("OIDCToken", token.expose());
        let call = UnsignedCall {
            action: "AssumeRoleWithOIDC",
            url,
            form,
        };
        let bearer = Arc::new(Credentials::bearer(name, token, Arc::clone(&self.clock)));
        let client = Client::new(
            Unsigned,
            bearer,
            ClientConfig::for_credentials(),
            Arc::clone(&self.clock),
        );
        let answer = client.call(&call).await.map_err(|error| {
            let message = format!(
                "role `{}` cannot be assumed with the OIDC token in `{}`",
                role.arn,
                oidc.token_file.display()
            );
            CredentialError::of_call(error, name, message)
        })?;
        credential(name, &role.arn, &answer.body)
    }

    fn parameters(&self, role: &Role) -> Parameters {
        let mut parameters = Parameters::new();
        parameters.set("RoleArn", &role.arn);
        let session = Some(&role.session_name)
            .filter(|session| !session.is_empty())
            .unwrap_or(&self.session_name);
        parameters.set("RoleSessionName", session);
        parameters.set("DurationSeconds", role.seconds.unwrap_or(DEFAULT_SECONDS));
        parameters.set_some("Policy", role.policy.as_ref());
        parameters
    }

    fn endpoints(&self, name: &str, role: &Role) -> Result<Endpoints, CredentialError> {
        let region = role.region.as_deref().unwrap_or(&self.region);
        let network = if role.vpc { Network::Vpc } else { self.network };
        let endpoints = Endpoints::of(region, network);
        match &self.endpoint {
            Some(endpoint) => endpoints.and_then(|endpoints| endpoints.with(Product::Sts, endpoint)),
            None => endpoints,
        }
        .map_err(|error| CredentialError::invalid(name, error.to_string()))
    }
}

impl fmt::Debug for Sts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sts")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

fn credential(name: &str, arn: &str, body: &[u8]) -> Result<Credential, CredentialError> {
    let answer: RoleAnswer = parse_json(body)
        .map_err(|wrong| CredentialError::invalid(name, format!("STS's answer for role `{arn}` is {wrong}")))?;
    let keys = answer.credentials.map(Keys::credential);
    match keys {
        Some(Ok(credential)) if credential.token.is_some() => Ok(credential),
        Some(Err(wrong)) => Err(CredentialError::invalid(
            name,
            format!("STS gives no credential for role `{arn}`: {wrong}"),
        )),
        Some(Ok(_)) | None => Err(CredentialError::invalid(
            name,
            format!("STS gives no temporary credential for role `{arn}`"),
        )),
    }
}
