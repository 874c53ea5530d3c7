//! A machine with an environment and files of its own, and a cloud around it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use imagecache_core::{CacheProvider as _, Error, chain};
use imagecache_tencent_eks::{CredentialConfig, Environment, TencentConfig, TencentProvider};
use serde_json::json;

use super::cloud::{Cloud, Key, OIDC_TOKEN, PROVIDER, REGION, ROLE, nobody};

/// A secret that is planted where it must never come out again.
pub const PLANTED: &str = "Pl4ntedSecretPl4ntedSecret0042";

/// A machine: its environment, its files, and the cloud it reaches.
pub struct Machine {
    pub cloud: Cloud,
    pub home: tempfile::TempDir,
    pub environment: BTreeMap<String, String>,
    pub config: serde_json::Value,
    /// Attempts for one call.
    pub attempts: u32,
}

/// Sets one source up on a machine.
pub type Prepare = fn(&mut Machine);

impl Machine {
    pub async fn new() -> Self {
        let cloud = Cloud::start().await;
        let home = tempfile::tempdir().unwrap();
        let config = json!({"metadata_endpoint": cloud.endpoint()});
        let environment = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        Self {
            cloud,
            home,
            environment,
            config,
            attempts: 1,
        }
    }

    /// A machine that is no CVM instance.
    pub async fn without_metadata() -> Self {
        let mut machine = Self::new().await;
        machine.set("metadata_endpoint", nobody().await);
        machine
    }

    pub fn var(&mut self, name: &str, value: impl Into<String>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    pub fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.config[key] = value.into();
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub fn shared(&self, lines: &str) -> String {
        self.file(".tencentcloud/credentials", format!("[default]\n{lines}\n"))
    }

    /// A known key in the environment.
    pub fn environment_key(&mut self, key: &Key) {
        self.cloud.add(key);
        self.var("TENCENTCLOUD_SECRET_ID", key.id.clone());
        self.var("TENCENTCLOUD_SECRET_KEY", key.secret.clone());
        if let Some(token) = &key.token {
            self.var("TENCENTCLOUD_TOKEN", token.clone());
        }
    }

    /// The workload identity of a pod, and where its token is.
    pub fn oidc(&mut self) -> String {
        let token = self.file("oidc-token", format!("{OIDC_TOKEN}\n"));
        self.var("TKE_REGION", REGION);
        self.var("TKE_PROVIDER_ID", PROVIDER);
        self.var("TKE_ROLE_ARN", ROLE);
        self.var("TKE_WEB_IDENTITY_TOKEN_FILE", token.clone());
        token
    }

    pub fn open(&self) -> Result<TencentProvider, Error> {
        let mut config = TencentConfig {
            region: REGION.to_owned(),
            ..TencentConfig::default()
        };
        config.endpoint = self.cloud.endpoint();
        config.sts_endpoint = self.cloud.endpoint();
        config.credentials = serde_json::from_value::<CredentialConfig>(self.config.clone()).unwrap();
        config.http.attempts = self.attempts;
        config.defaults.vpc_id = "vpc-01234567".to_owned();
        config.defaults.subnet_id = "subnet-01234567".to_owned();
        let environment: Environment = self.environment.clone().into_iter().collect();
        TencentProvider::with_environment(config, Some("test".to_owned()), self.cloud.clock(), &environment)
    }

    /// The key that one call is signed with.
    pub async fn signer(&self) -> Result<Key, Error> {
        self.signer_of(&self.open()?).await
    }

    /// The key that a call of `provider` is signed with.
    pub async fn signer_of(&self, provider: &TencentProvider) -> Result<Key, Error> {
        provider.list().await?;
        Ok(self.cloud.signer().unwrap())
    }

    /// The error of one call, checked to hold no secret.
    pub async fn error(&self, name: &str) -> String {
        let provider = self.open().unwrap();
        let error = provider.list().await.map(drop).expect_err(name);
        let mut secrets = self.cloud.secrets();
        secrets.push(PLANTED.to_owned());
        for text in [chain(&error), format!("{error:?}"), format!("{provider:?}")] {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{name}: a secret is in {text}");
            }
        }
        chain(&error)
    }
}
