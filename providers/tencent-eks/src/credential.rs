//! Who signs: the chain of places where the vendor's tools look for a key.
//!
//! The order is that of the vendor's SDKs: what the configuration names, the environment, the file that the SDKs share, the
//! role of the CVM instance, the pod's workload identity (TKE OIDC). The first one that is configured is used. If it does not
//! work, the search ends there with its error: to go on would mean to work under another identity, unnoticed.
//!
//! **Invariant:** the environment is an argument, and no secret is in a name, a `Debug` text or an error.

mod config;
mod keys;
mod metadata;
mod shared_profile;
mod sources;
mod sts;
mod unsigned;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use imagecache_cloud_http::source::{CredentialConfigError, Environment, SecretFile, VariableName};
use imagecache_cloud_http::source::{
    EnvironmentNames, EnvironmentSource, Expectation, OidcNames, ReferenceSource, metadata_endpoint,
};
use imagecache_cloud_http::{CredentialSource, Credentials};
use imagecache_core::Clock;

pub use config::{CredentialChoice, CredentialConfig};

use self::metadata::Metadata;
use self::sources::{AssumedRole, InstanceRole, ProfileFile, SharedProfile, WorkloadIdentity};
use self::sts::{Role, Sts};
use crate::endpoint::{Endpoints, Network};
use crate::protocol::Product;

/// Names of the vendor's environment variables.
mod variables {
    pub(super) const KEY: super::EnvironmentNames = super::EnvironmentNames {
        id: "TENCENTCLOUD_SECRET_ID",
        secret: "TENCENTCLOUD_SECRET_KEY",
        // The SDKs read none; the first is the CLI's name, the second that of the Terraform provider.
        tokens: &["TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SECURITY_TOKEN"],
    };
    pub(super) const SHARED_FILE: &str = "TENCENTCLOUD_CREDENTIALS_FILE";
    pub(super) const OIDC_REGION: &str = "TKE_REGION";
    pub(super) const OIDC: super::OidcNames = super::OidcNames {
        provider: "TKE_PROVIDER_ID",
        token_file: "TKE_WEB_IDENTITY_TOKEN_FILE",
        role: "TKE_ROLE_ARN",
    };
}

/// Name of an assumed role's session where none was chosen.
const DEFAULT_SESSION_NAME: &str = "imagecache";
/// The file that the SDKs share, below the home directory, and where it is if there is none there.
const SHARED_FILE_IN_HOME: &str = ".tencentcloud/credentials";
const SHARED_FILE_OF_MACHINE: &str = "/etc/tencentcloud/credentials";

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
    check(config)?;
    let links = Links {
        config,
        environment,
        sts: Arc::new(sts(config, region, network, clock)?),
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
        },
        sts: links.sts,
    };
    Ok(Credentials::new(vec![Box::new(assumed)], Arc::clone(clock)))
}

fn check(config: &CredentialConfig) -> Result<(), CredentialConfigError> {
    if let Some(key) = config.key().ambiguous() {
        return Err(CredentialConfigError::Both(key));
    }
    if config.source == CredentialChoice::Reference && !config.key().any() {
        return Err(CredentialConfigError::Needs(
            "reference",
            "`secret_id_env` or `secret_id_file`, and the same for `secret_key`",
        ));
    }
    Ok(())
}

fn sts(config: &CredentialConfig, region: &str, network: Network, clock: &Clock) -> Result<Sts, CredentialConfigError> {
    let regular = Endpoints::of(region, network);
    let endpoints = regular.and_then(|endpoints| match &config.sts_endpoint {
        Some(endpoint) => endpoints.with(Product::Sts, endpoint),
        None => Ok(endpoints),
    });
    let session_name = config.role_session_name.as_deref().unwrap_or(DEFAULT_SESSION_NAME);
    Ok(Sts {
        endpoints: endpoints.map_err(|error| CredentialConfigError::endpoint("sts_endpoint", &error))?,
        region: region.to_owned(),
        session_name: session_name.to_owned(),
        clock: Arc::clone(clock),
    })
}

/// What the links are made from.
struct Links<'a> {
    config: &'a CredentialConfig,
    environment: &'a Environment,
    sts: Arc<Sts>,
}

type Link = Box<dyn CredentialSource>;

impl Links<'_> {
    fn all(&self) -> Result<Vec<Link>, CredentialConfigError> {
        Ok(match self.config.source {
            CredentialChoice::Auto => vec![
                self.reference(),
                self.environment_keys(),
                self.shared_profile(),
                self.instance_role()?,
                self.workload_identity(),
            ],
            CredentialChoice::Reference => vec![self.reference()],
            CredentialChoice::Environment => vec![self.environment_keys()],
            CredentialChoice::Profile => vec![self.shared_profile()],
            CredentialChoice::Instance => vec![self.instance_role()?],
            CredentialChoice::Oidc => vec![self.workload_identity()],
        })
    }

    fn reference(&self) -> Link {
        Box::new(ReferenceSource::new(self.config.key(), self.environment.clone()))
    }

    fn environment_keys(&self) -> Link {
        Box::new(EnvironmentSource::new(variables::KEY, self.environment.clone()))
    }

    fn shared_file(&self) -> ProfileFile {
        let named = self.config.credentials_file.clone();
        let named = named.or_else(|| self.environment.text(variables::SHARED_FILE).map(PathBuf::from));
        match (named, self.environment.text("HOME")) {
            (Some(file), _) => ProfileFile::Named(file),
            (None, Some(home)) => ProfileFile::First(vec![
                Path::new(home).join(SHARED_FILE_IN_HOME),
                SHARED_FILE_OF_MACHINE.into(),
            ]),
            (None, None) => ProfileFile::First(vec![SHARED_FILE_OF_MACHINE.into()]),
        }
    }

    fn shared_profile(&self) -> Link {
        Box::new(SharedProfile {
            file: self.shared_file(),
            profile: self.config.profile.clone(),
            sts: Arc::clone(&self.sts),
        })
    }

    fn instance_role(&self) -> Result<Link, CredentialConfigError> {
        let role = self.config.instance_role.clone();
        let certain = role.is_some() || self.config.source == CredentialChoice::Instance;
        let endpoint = metadata_endpoint(self.config.metadata_endpoint.as_deref(), metadata::PLACE.host);
        let endpoint = endpoint.map_err(|error| CredentialConfigError::endpoint("metadata_endpoint", &error))?;
        Ok(Box::new(InstanceRole {
            role,
            expectation: if certain {
                Expectation::Certain
            } else {
                Expectation::Unknown
            },
            metadata: Metadata::new(endpoint)?,
        }))
    }

    fn workload_identity(&self) -> Link {
        Box::new(WorkloadIdentity {
            environment: self.environment.clone(),
            sts: Arc::clone(&self.sts),
        })
    }
}
