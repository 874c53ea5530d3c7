//! The links of the chain: where a credential may come from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use imagecache_cloud_http::source::{Environment, Expectation, IniFile, PlainClient, parse_json, read_secret_file};
use imagecache_cloud_http::{Credential, CredentialError, CredentialSource, Credentials, Route, is_loopback};
use imagecache_core::Secret;
use url::Url;

use super::cli_profile::CliFile;
use super::keys::Keys;
use super::recipe::{Recipe, SharedServices};
use super::sts::{OidcRole, Role};
use super::{shared_profile, variables};

/// Whoever answers at a credentials URI may have to ask others first; the vendor's SDK waits as long.
const URI_TIMEOUT: Duration = Duration::from_secs(10);

/// The workload identity that the cluster gives to a pod.
#[derive(Debug)]
pub(super) struct WorkloadIdentity {
    pub(super) environment: Environment,
    pub(super) services: SharedServices,
}

#[async_trait]
impl CredentialSource for WorkloadIdentity {
    fn name(&self) -> String {
        "OIDC workload identity (RRSA)".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let name = self.name();
        let Some(identity) = variables::OIDC.read(&name, &self.environment)? else {
            return Ok(None);
        };
        let oidc = OidcRole {
            provider_arn: identity.provider,
            token_file: identity.token_file,
            role: Role {
                arn: identity.role,
                ..Role::default()
            },
        };
        self.services.follow(&name, &Recipe::Oidc(oidc)).await.map(Some)
    }
}

/// Whether the user named a profile.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) profile: Option<String>,
    /// The other file that was asked for it before; `None` where this file alone must have it.
    pub(super) asked_before: Option<PathBuf>,
}

/// A profile of the CLI's file.
#[derive(Debug)]
pub(super) struct CliProfile {
    pub(super) file: PathBuf,
    pub(super) profile: Option<String>,
    /// Whether the shared file is asked next, so that a named profile may be there.
    pub(super) shared_file_is_next: bool,
    pub(super) services: SharedServices,
}

#[async_trait]
impl CredentialSource for CliProfile {
    fn name(&self) -> String {
        format!("CLI profile file `{}`", self.file.display())
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let name = self.name();
        let read = read_secret_file(&self.file).await;
        let recipe = match read.map_err(|error| CredentialError::invalid(&name, error.to_string()))? {
            None => None,
            Some(text) => CliFile::parse(text.expose())
                .map_err(|wrong| CredentialError::invalid(&name, format!("the file is {wrong}")))?
                .recipe(self.profile.as_deref())
                .map_err(|wrong| CredentialError::invalid(&name, wrong))?,
        };
        match (recipe, &self.profile) {
            (Some(recipe), _) => self.services.follow(&name, &recipe).await.map(Some),
            (None, Some(profile)) if !self.shared_file_is_next => Err(CredentialError::invalid(
                &name,
                format!("there is no profile `{profile}`"),
            )),
            (None, _) => Ok(None),
        }
    }
}

/// A profile of the file that the SDKs share.
#[derive(Debug)]
pub(super) struct SharedProfile {
    pub(super) file: PathBuf,
    pub(super) wanted: Wanted,
    pub(super) services: SharedServices,
}

#[async_trait]
impl CredentialSource for SharedProfile {
    fn name(&self) -> String {
        format!("shared profile file `{}`", self.file.display())
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let name = self.name();
        let profile = self.wanted.profile.as_deref();
        let read = IniFile::read(&self.file).await;
        let recipe = match read.map_err(|error| CredentialError::invalid(&name, error.to_string()))? {
            None => None,
            Some(file) => shared_profile::recipe(&file, profile.unwrap_or("default"))
                .map_err(|wrong| CredentialError::invalid(&name, wrong))?,
        };
        match (recipe, profile, &self.wanted.asked_before) {
            (Some(recipe), ..) => self.services.follow(&name, &recipe).await.map(Some),
            (None, None, _) => Ok(None),
            // Another identity in silence would be worse than none.
            (None, Some(profile), None) => Err(CredentialError::invalid(
                &name,
                format!("there is no profile `{profile}`"),
            )),
            (None, Some(profile), Some(other)) => Err(CredentialError::invalid(
                &name,
                format!("there is no profile `{profile}`, and none in `{}`", other.display()),
            )),
        }
    }
}

/// The role of this ECS instance.
#[derive(Debug)]
pub(super) struct InstanceRole {
    pub(super) role: Option<String>,
    pub(super) expectation: Expectation,
    pub(super) services: SharedServices,
}

#[async_trait]
impl CredentialSource for InstanceRole {
    fn name(&self) -> String {
        "RAM role of the ECS instance".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        self.services
            .instance(&self.name(), self.role.as_deref(), self.expectation)
            .await
    }
}

/// An address that answers with a credential. It may hold a secret itself, so nothing shows it.
pub(super) struct CredentialsUri(pub(super) Secret<Url>);

impl std::fmt::Debug for CredentialsUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialsUri(…)")
    }
}

#[async_trait]
impl CredentialSource for CredentialsUri {
    fn name(&self) -> String {
        "credentials URI".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let name = self.name();
        let url = self.0.expose();
        let route = match url.host_str() {
            Some(host) if is_loopback(host) => Route::Direct,
            _ => Route::Environment,
        };
        let plain = PlainClient::new(route, URI_TIMEOUT).map_err(|error| CredentialError::Invalid {
            name: name.clone(),
            message: "it cannot be asked".to_owned(),
            source: Some(error.into()),
        })?;
        let body = plain
            .send(Method::GET, url.as_str(), None)
            .await
            .map_err(|error| error.into_credential_error(&name, "it gives no credential"))?;
        let keys: Keys =
            parse_json(&body).map_err(|wrong| CredentialError::invalid(&name, format!("the answer is {wrong}")))?;
        keys.credential()
            .map(Some)
            .map_err(|wrong| CredentialError::invalid(&name, wrong))
    }
}

/// A role that is assumed with the credential of a whole chain.
#[derive(Debug)]
pub(super) struct AssumedRole {
    pub(super) base: Arc<Credentials>,
    pub(super) role: Role,
    pub(super) services: SharedServices,
}

#[async_trait]
impl CredentialSource for AssumedRole {
    fn name(&self) -> String {
        format!("assumed role `{}`", self.role.arn)
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let base = Arc::clone(&self.base);
        self.services.sts.assume(&self.name(), &self.role, base).await.map(Some)
    }
}
