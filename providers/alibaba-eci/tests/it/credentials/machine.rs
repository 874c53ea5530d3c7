//! A machine with an environment and files of its own, and a cloud around it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use imagecache_alibaba_eci::{AlibabaConfig, AlibabaProvider, CredentialConfig, Environment};
use imagecache_core::{CacheProvider as _, Error, chain};
use imagecache_fakes::eci::FakeEci;
use serde_json::json;

pub const DESCRIBE: &str = "DescribeImageCaches";
/// A role that the fake lets anybody assume.
pub const ROLE: &str = "acs:ram::123456789:role/cache";
/// A secret that is planted where it must never come out again.
pub const PLANTED: &str = "Pl4ntedSecretPl4ntedSecret0042";

/// A machine: its environment, its files, and the cloud it reaches.
pub struct Machine {
    pub fake: Arc<FakeEci>,
    pub home: tempfile::TempDir,
    pub environment: BTreeMap<String, String>,
    pub config: serde_json::Value,
    /// Attempts for one call.
    pub attempts: u32,
}

impl Machine {
    pub async fn new() -> Self {
        let fake = Arc::new(FakeEci::start().await);
        let home = tempfile::tempdir().unwrap();
        let config = json!({
            "metadata_endpoint": fake.endpoint(),
        });
        let environment = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        Self {
            fake,
            home,
            environment,
            config,
            attempts: 1,
        }
    }

    /// A machine that is no ECS instance.
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

    pub fn cli(&self, profile: &serde_json::Value) {
        let mut profile = profile.clone();
        profile["name"] = json!("main");
        let file = json!({"current": "main", "profiles": [profile]});
        self.file(".aliyun/config.json", file.to_string());
    }

    pub fn shared(&self, lines: &str) {
        self.file(".alibabacloud/credentials", format!("[default]\n{lines}\n"));
    }

    /// The fake's key, as two texts.
    pub fn key(&self) -> (String, String) {
        let (id, secret) = self.fake.access_key();
        (id.to_owned(), secret.to_owned())
    }

    pub fn rrsa(&mut self) -> String {
        let token = self.file("oidc-token", "header.payload.signature-1\n");
        self.var("ALIBABA_CLOUD_ROLE_ARN", ROLE);
        self.var(
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            "acs:ram::123456789:oidc-provider/ack",
        );
        self.var("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token.clone());
        token
    }

    pub fn open(&self) -> Result<AlibabaProvider, Error> {
        let mut config = AlibabaConfig {
            region: self.fake.region().to_owned(),
            ..AlibabaConfig::default()
        };
        config.endpoint = self.fake.endpoint();
        config.vpc_endpoint = self.fake.endpoint();
        config.sts_endpoint = self.fake.endpoint();
        config.credentials = serde_json::from_value::<CredentialConfig>(self.config.clone()).unwrap();
        config.http.attempts = self.attempts;
        let fake = Arc::clone(&self.fake);
        let clock = Arc::new(move || fake.now());
        let environment: Environment = self.environment.clone().into_iter().collect();
        AlibabaProvider::with_environment(config, Some("test".to_owned()), clock, &environment)
    }

    /// Signs one call with whatever credential is found.
    pub async fn call(&self) -> Result<(), Error> {
        self.open()?.list().await.map(drop)
    }

    /// The error of one call, checked to hold no secret.
    pub async fn error(&self, name: &str) -> String {
        let provider = self.open().unwrap();
        let error = provider.list().await.map(drop).expect_err(name);
        let mut secrets = self.fake.secrets();
        secrets.push(PLANTED.to_owned());
        for text in [chain(&error), format!("{error:?}"), format!("{provider:?}")] {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{name}: a secret is in {text}");
            }
        }
        chain(&error)
    }
}

/// An endpoint at which nobody listens.
pub async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Sets one source up on a machine.
pub type Prepare = fn(&mut Machine);

/// A lower link that works, so that falling through would be seen.
pub fn safety_net(machine: &mut Machine) {
    machine.var("ALIBABA_CLOUD_CREDENTIALS_URI", machine.fake.credentials_uri());
}
