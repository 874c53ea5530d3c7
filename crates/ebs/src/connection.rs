//! Clients for EBS and EC2, made when they are first needed: finding region and credentials may take network calls.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ebs::config::retry::RetryConfig;
use aws_sdk_ebs::config::{Builder, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use imagecache_blocks::{Error, Result};
use imagecache_core::ErrorKind;
use tokio::sync::OnceCell;

use crate::config::EbsConfig;
use crate::ec2::Ec2;

/// What the SDK itself waits for a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// Longest silence. The SDK has no limit of its own; a block takes 100 ms as a rule.
const READ_TIMEOUT: Duration = Duration::from_secs(12);
/// One attempt, half a MiB over a slow line included.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// The clients.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) ebs: aws_sdk_ebs::Client,
    pub(crate) ec2: Ec2,
}

/// Makes the clients once.
#[derive(Debug)]
pub(crate) struct Connection {
    config: EbsConfig,
    sdk: Option<SdkConfig>,
    clients: OnceCell<Clients>,
}

impl Connection {
    /// `sdk` stands for what the environment would say.
    pub(crate) fn new(config: EbsConfig, sdk: Option<SdkConfig>) -> Self {
        Self {
            config,
            sdk,
            clients: OnceCell::new(),
        }
    }

    /// The clients.
    ///
    /// # Errors
    /// When no region is configured anywhere.
    pub(crate) async fn clients(&self) -> Result<&Clients> {
        self.clients.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Clients> {
        let sdk = match &self.sdk {
            Some(sdk) => sdk.clone(),
            None => self.load().await,
        };
        if sdk.region().is_none() {
            let message =
                "no AWS region is configured; set local.ebs.region in the configuration or AWS_REGION".to_owned();
            return Err(Error::Service {
                kind: ErrorKind::InvalidSpec,
                message,
            });
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        let ebs = Builder::from(&sdk)
            // Retries are ours: they must slow everybody down, wait for fresh snapshots, and tell a refusal from an outage.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Ok(Clients {
            ebs: aws_sdk_ebs::Client::from_conf(ebs),
            ec2: Ec2::new(&sdk)?,
        })
    }

    /// Everything as the SDK finds it: environment, profiles, web identity, containers, instances.
    async fn load(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client());
        if let Some(region) = &self.config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.config.profile {
            loader = loader.profile_name(profile);
        }
        loader.load().await
    }
}

/// What the environment would say of this endpoint and key.
pub(crate) fn fixed(endpoint: &str, region: &str, key_id: &str, secret: &str) -> SdkConfig {
    let credentials = Credentials::new(key_id, secret, None, None, "given");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client())
        .build()
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}
