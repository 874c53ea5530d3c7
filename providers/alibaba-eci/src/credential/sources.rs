//! The links of the chain: where a credential may come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use imagecache_cloud_http::source::{Environment, IniFile, read_secret_file};
use imagecache_cloud_http::{Credential, CredentialError, CredentialSource, Credentials};
use imagecache_core::Secret;
use url::Url;

use super::cli_profile::CliFile;
use super::config::{CredentialConfig, SecretFile, VariableName};
use super::keys::{Keys, invalid, parse_json};
use super::metadata::Expectation;
use super::plain::{Plain, route};
use super::recipe::{Recipe, SharedServices};
use super::sts::{OidcRole, Role};
use super::{shared_profile, variables};

/// Whoever answers at a credentials URI may have to ask others first; the vendor's SDK waits as long.
const URI_TIMEOUT: Duration = Duration::from_secs(10);

/// A file's text without the white space around it: files end in a newline. It must be there.
pub(super) async fn secret_in(name: &str, path: &Path) -> Result<Secret<String>, CredentialError> {
    let wrong = |what: &str| invalid(name, format!("file `{}` {what}", path.display()));
    let read = read_secret_file(path).await;
    let text = read.map_err(|error| invalid(name, error.to_string()))?;
    match text.ok_or_else(|| wrong("does not exist"))?.expose().trim() {
        "" => Err(wrong("is empty")),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

/// Variables and files that the configuration names.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) config: CredentialConfig,
    pub(super) environment: Environment,
}

impl Reference {
    async fn value(
        &self,
        key: &str,
        variable: Option<&VariableName>,
        file: Option<&SecretFile>,
    ) -> Result<Option<Secret<String>>, CredentialError> {
        match (variable, file) {
            (Some(variable), _) => {
                let variable = variable.as_str();
                let value = self
                    .environment
                    .text(variable)
                    .map(str::trim)
                    .filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| {
                    invalid(
                        &self.name(),
                        format!("environment variable `{variable}`, named by `{key}_env`, is not set"),
                    )
                })?;
                Ok(Some(Secret::new(value.to_owned())))
            }
            (None, Some(file)) => secret_in(&self.name(), file.as_path()).await.map(Some),
            (None, None) => Ok(None),
        }
    }
}

#[async_trait]
impl CredentialSource for Reference {
    fn name(&self) -> String {
        "the configuration's references".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let config = &self.config;
        if !config.has_references() {
            return Ok(None);
        }
        let missing = |key: &str| invalid(&self.name(), format!("`{key}_env` or `{key}_file` is needed too"));
        let (id, secret, token) = ("access_key_id", "access_key_secret", "security_token");
        let found = self.value(
            id,
            config.access_key_id_env.as_ref(),
            config.access_key_id_file.as_ref(),
        );
        let id = found.await?.ok_or_else(|| missing(id))?;
        let found = self.value(
            secret,
            config.access_key_secret_env.as_ref(),
            config.access_key_secret_file.as_ref(),
        );
        let secret = found.await?.ok_or_else(|| missing(secret))?;
        let found = self.value(
            token,
            config.security_token_env.as_ref(),
            config.security_token_file.as_ref(),
        );
        Ok(Some(Credential {
            id: id.expose().clone(),
            secret,
            token: found.await?,
            expires_at: None,
        }))
    }
}

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
        let get = |name: &str| self.environment.text(name).map(str::to_owned);
        let (provider_arn, token_file) = (get(variables::OIDC_PROVIDER), get(variables::OIDC_TOKEN_FILE));
        if provider_arn.is_none() && token_file.is_none() {
            // A role alone may be meant for something else.
            return Ok(None);
        }
        let name = self.name();
        let missing = |variable: &str| {
            invalid(
                &name,
                format!("`{variable}` is not set, and the other variables of it are"),
            )
        };
        let oidc = OidcRole {
            provider_arn: provider_arn.ok_or_else(|| missing(variables::OIDC_PROVIDER))?,
            token_file: token_file.ok_or_else(|| missing(variables::OIDC_TOKEN_FILE))?.into(),
            role: Role {
                arn: get(variables::ROLE_ARN).ok_or_else(|| missing(variables::ROLE_ARN))?,
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
        let recipe = match read.map_err(|error| invalid(&name, error.to_string()))? {
            None => None,
            Some(text) => CliFile::parse(text.expose())
                .map_err(|wrong| invalid(&name, format!("the file is {wrong}")))?
                .recipe(self.profile.as_deref())
                .map_err(|wrong| invalid(&name, wrong))?,
        };
        match (recipe, &self.profile) {
            (Some(recipe), _) => self.services.follow(&name, &recipe).await.map(Some),
            (None, Some(profile)) if !self.shared_file_is_next => {
                Err(invalid(&name, format!("there is no profile `{profile}`")))
            }
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
        let recipe = match read.map_err(|error| invalid(&name, error.to_string()))? {
            None => None,
            Some(file) => {
                shared_profile::recipe(&file, profile.unwrap_or("default")).map_err(|wrong| invalid(&name, wrong))?
            }
        };
        match (recipe, profile, &self.wanted.asked_before) {
            (Some(recipe), ..) => self.services.follow(&name, &recipe).await.map(Some),
            (None, None, _) => Ok(None),
            // Another identity in silence would be worse than none.
            (None, Some(profile), None) => Err(invalid(&name, format!("there is no profile `{profile}`"))),
            (None, Some(profile), Some(other)) => Err(invalid(
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
        let plain = Plain::new(route(url), URI_TIMEOUT).map_err(|error| CredentialError::Invalid {
            name: name.clone(),
            message: "it cannot be asked".to_owned(),
            source: Some(error),
        })?;
        let body = plain
            .send(Method::GET, url, None)
            .await
            .map_err(|error| error.into_credential_error(&name, "it gives no credential"))?;
        let keys: Keys = parse_json(&body).map_err(|wrong| invalid(&name, format!("the answer is {wrong}")))?;
        keys.credential().map(Some).map_err(|wrong| invalid(&name, wrong))
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
