//! Who signs: the chain of places where the vendor's tools look for an access key.
//!
//! The order is that of the vendor's SDKs: what the configuration names, the environment, the pod's workload identity (RRSA),
//! the CLI's file, the file that the SDKs share, the role of the ECS instance, a credentials URI. The first one that is
//! configured is used. If it does not work, the search ends there with its error: to go on would mean to work under another
//! identity, unnoticed.
//!
//! **Invariant:** the environment is an argument, and no secret is in a name, a `Debug` text or an error.

mod cli_profile;
mod config;
mod keys;
mod metadata;
mod recipe;
mod shared_profile;
mod sources;
mod sts;
mod unsigned;

use std::sync::Arc;

pub use imagecache_cloud_http::source::{CredentialConfigError, Environment, SecretFile, VariableName};
use imagecache_cloud_http::source::{
    EnvironmentNames, EnvironmentSource, Expectation, OidcNames, ReferenceSource, metadata_endpoint,
};
use imagecache_cloud_http::{CredentialSource, Credentials};
use imagecache_core::{Clock, Secret};
use url::{Host, Url};

pub use config::{CredentialChoice, CredentialConfig};

use self::metadata::{Metadata, Sessions};
use self::recipe::{Services, SharedServices};
use self::sources::{AssumedRole, CliProfile, CredentialsUri, InstanceRole, SharedProfile, Wanted, WorkloadIdentity};
use self::sts::{Role, Sts};
use crate::endpoint::{Endpoints, Network};

/// Names of the vendor's environment variables.
mod variables {
    pub(super) const KEY: super::EnvironmentNames = super::EnvironmentNames {
        id: "ALIBABA_CLOUD_ACCESS_KEY_ID",
        secret: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        tokens: &["ALIBABA_CLOUD_SECURITY_TOKEN"],
    };
    pub(super) const OIDC: super::OidcNames = super::OidcNames {
        provider: "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
        token_file: "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
        role: "ALIBABA_CLOUD_ROLE_ARN",
    };
    pub(super) const ROLE_SESSION: &str = "ALIBABA_CLOUD_ROLE_SESSION_NAME";
    pub(super) const PROFILE: &str = "ALIBABA_CLOUD_PROFILE";
    pub(super) const CLI_DISABLED: &str = "ALIBABA_CLOUD_CLI_PROFILE_DISABLED";
    pub(super) const SHARED_FILE: &str = "ALIBABA_CLOUD_CREDENTIALS_FILE";
    pub(super) const INSTANCE_ROLE: &str = "ALIBABA_CLOUD_ECS_METADATA";
    pub(super) const INSTANCE_DISABLED: &str = "ALIBABA_CLOUD_ECS_METADATA_DISABLED";
    pub(super) const SESSIONS_ONLY: &str = "ALIBABA_CLOUD_IMDSV1_DISABLED";
    pub(super) const URI: &str = "ALIBABA_CLOUD_CREDENTIALS_URI";
    pub(super) const STS_REGION: &str = "ALIBABA_CLOUD_STS_REGION";
    pub(super) const VPC_ENDPOINTS: &str = "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED";
}

/// Name of an assumed role's session where none was chosen.
const DEFAULT_SESSION_NAME: &str = "imagecache";

/// The credentials that `config` describes, for a region and a network. Nothing is read or asked yet.
///
/// # Errors
///
/// When the configuration contradicts itself or names an address that cannot be used.
pub fn chain(
    config: &CredentialConfig,
    environment: &Environment,
    region: &str,
    network: Network,
    clock: &Clock,
) -> Result<Credentials, CredentialConfigError> {
    check(config, region, network)?;
    let links = Links {
        config,
        environment,
        services: Arc::new(services(config, environment, region, network, clock)?),
    };
    let credentials = Credentials::new(links.all()?, Arc::clone(clock));
    let Some(arn) = &config.role_arn else {
        return Ok(credentials);
    };
    let assumed = AssumedRole {
        base: Arc::new(credentials),
        role: Role {
            arn: arn.clone(),
            external_id: config.external_id.clone(),
            ..Role::default()
        },
        services: links.services,
    };
    Ok(Credentials::new(vec![Box::new(assumed)], Arc::clone(clock)))
}

fn check(config: &CredentialConfig, region: &str, network: Network) -> Result<(), CredentialConfigError> {
    if let Some(key) = config.key().ambiguous() {
        return Err(CredentialConfigError::Both(key));
    }
    if config.source == CredentialChoice::Reference && !config.key().any() {
        return Err(CredentialConfigError::Needs(
            "reference",
            "`access_key_id_env` or `access_key_id_file`, and the same for `access_key_secret`",
        ));
    }
    let sts = Endpoints::of(region, network).and_then(|endpoints| match &config.sts_endpoint {
        Some(endpoint) => endpoints.with(crate::protocol::Product::Sts, endpoint),
        None => Ok(endpoints),
    });
    sts.map(drop).map_err(|error| CredentialConfigError::Address {
        key: "sts_endpoint",
        wrong: error.to_string(),
    })
}

fn services(
    config: &CredentialConfig,
    environment: &Environment,
    region: &str,
    network: Network,
    clock: &Clock,
) -> Result<Services, CredentialConfigError> {
    let network = if is_on(environment, variables::VPC_ENDPOINTS) {
        Network::Vpc
    } else {
        network
    };
    let chosen = config.role_session_name.as_deref();
    let session_name = chosen
        .or_else(|| environment.text(variables::ROLE_SESSION))
        .unwrap_or(DEFAULT_SESSION_NAME);
    let sessions = if is_on(environment, variables::SESSIONS_ONLY) {
        Sessions::Required
    } else {
        Sessions::Preferred
    };
    let metadata = if is_on(environment, variables::INSTANCE_DISABLED) {
        None
    } else {
        let endpoint = metadata_endpoint(config.metadata_endpoint.as_deref(), metadata::PLACE.host);
        let endpoint = endpoint.map_err(|error| CredentialConfigError::endpoint("metadata_endpoint", &error))?;
        Some(Metadata::new(endpoint, sessions)?)
    };
    Ok(Services {
        sts: Sts {
            region: environment.text(variables::STS_REGION).unwrap_or(region).to_owned(),
            network,
            endpoint: config.sts_endpoint.clone(),
            session_name: session_name.to_owned(),
            clock: Arc::clone(clock),
        },
        metadata,
    })
}

/// Whether a switch is on.
fn is_on(environment: &Environment, name: &str) -> bool {
    environment
        .text(name)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A credentials URI: HTTPS, or plain HTTP to this machine. The error does not repeat it, since it may hold a secret.
fn credentials_uri(text: &str) -> Result<Secret<Url>, CredentialConfigError> {
    let wrong = |what: &str| CredentialConfigError::Address {
        key: "credentials_uri",
        wrong: what.to_owned(),
    };
    let url = Url::parse(text).map_err(|_| wrong("it is no URL"))?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(Secret::new(url)),
        "http" if local => Ok(Secret::new(url)),
        "http" => Err(wrong(
            "plain HTTP would show the credential to others; use https, or a host on this machine",
        )),
        _ => Err(wrong("it is no URL with https")),
    }
}

/// What the links are made from.
struct Links<'a> {
    config: &'a CredentialConfig,
    environment: &'a Environment,
    services: SharedServices,
}

type Link = Box<dyn CredentialSource>;

impl Links<'_> {
    fn all(&self) -> Result<Vec<Link>, CredentialConfigError> {
        let one = |link: Option<Link>| link.into_iter().collect();
        Ok(match self.config.source {
            CredentialChoice::Auto => [
                Some(self.reference()),
                Some(self.environment_keys()),
                Some(self.workload_identity()),
                self.cli_profile(),
                self.shared_profile(),
                Some(self.instance_role()),
                self.uri()?,
            ]
            .into_iter()
            .flatten()
            .collect(),
            CredentialChoice::Reference => vec![self.reference()],
            CredentialChoice::Environment => vec![self.environment_keys()],
            CredentialChoice::Oidc => vec![self.workload_identity()],
            CredentialChoice::Cli => one(self.cli_profile()),
            CredentialChoice::Profile => one(self.shared_profile()),
            CredentialChoice::Instance => vec![self.instance_role()],
            CredentialChoice::Uri => {
                let needs = CredentialConfigError::Needs("uri", "`credentials_uri` or `ALIBABA_CLOUD_CREDENTIALS_URI`");
                vec![self.uri()?.ok_or(needs)?]
            }
        })
    }

    fn in_home(&self, path: &str) -> Option<std::path::PathBuf> {
        Some(std::path::Path::new(self.environment.text("HOME")?).join(path))
    }

    fn is_auto(&self) -> bool {
        self.config.source == CredentialChoice::Auto
    }

    fn reference(&self) -> Link {
        Box::new(ReferenceSource::new(self.config.key(), self.environment.clone()))
    }

    fn environment_keys(&self) -> Link {
        Box::new(EnvironmentSource::new(variables::KEY, self.environment.clone()))
    }

    fn workload_identity(&self) -> Link {
        Box::new(WorkloadIdentity {
            environment: self.environment.clone(),
            services: Arc::clone(&self.services),
        })
    }

    fn profile(&self) -> Option<String> {
        let named = self.config.profile.clone();
        named.or_else(|| self.environment.text(variables::PROFILE).map(str::to_owned))
    }

    fn cli_file(&self) -> Option<std::path::PathBuf> {
        if self.is_auto() && self.config.cli_config_file.is_none() && is_on(self.environment, variables::CLI_DISABLED) {
            return None;
        }
        let named = self.config.cli_config_file.clone();
        named.or_else(|| self.in_home(".aliyun/config.json"))
    }

    fn cli_profile(&self) -> Option<Link> {
        Some(Box::new(CliProfile {
            file: self.cli_file()?,
            profile: self.profile(),
            shared_file_is_next: self.is_auto() && self.shared_file().is_some(),
            services: Arc::clone(&self.services),
        }))
    }

    fn shared_file(&self) -> Option<std::path::PathBuf> {
        let named = self.config.credentials_file.clone();
        named
            .or_else(|| self.environment.text(variables::SHARED_FILE).map(Into::into))
            .or_else(|| self.in_home(".alibabacloud/credentials"))
    }

    fn shared_profile(&self) -> Option<Link> {
        Some(Box::new(SharedProfile {
            file: self.shared_file()?,
            wanted: Wanted {
                profile: self.profile(),
                asked_before: self.cli_file().filter(|_| self.is_auto()),
            },
            services: Arc::clone(&self.services),
        }))
    }

    fn instance_role(&self) -> Link {
        let named = self.config.instance_role.clone();
        let role = named.or_else(|| self.environment.text(variables::INSTANCE_ROLE).map(str::to_owned));
        let certain = role.is_some() || !self.is_auto();
        Box::new(InstanceRole {
            role,
            expectation: if certain {
                Expectation::Certain
            } else {
                Expectation::Unknown
            },
            services: Arc::clone(&self.services),
        })
    }

    fn uri(&self) -> Result<Option<Link>, CredentialConfigError> {
        let named = self.config.credentials_uri.as_deref();
        let text = named.or_else(|| self.environment.text(variables::URI));
        let link = |uri| Ok(Box::new(CredentialsUri(uri)) as Link);
        text.map(|text| credentials_uri(text).and_then(link)).transpose()
    }
}
