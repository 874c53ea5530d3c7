//! The registry of providers: the one place that names them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use figment::value::{Dict, Value};
use imagecache_alibaba_eci::{AlibabaConfig, AlibabaProvider};
use imagecache_core::cost::Tariff;
use imagecache_core::{CacheId, CacheProvider, ImageRef, RegistryCredential, system_clock, with_causes};
use imagecache_k8s_api::{ImageCacheDialect as _, alibaba, tencent};
use imagecache_local::{LocalConfig, LocalProvider, StoreKind};
use imagecache_oci::Keyring;
use imagecache_tencent_eks::{TencentConfig, TencentProvider};

use crate::config::Loaded;

/// Every provider by its name in configuration.
pub const PROVIDERS: [&str; 3] = [
    imagecache_alibaba_eci::NAME,
    imagecache_local::NAME,
    imagecache_tencent_eks::NAME,
];

/// How often to list the caches of a cloud: a build takes minutes, and calls are counted (Terraform polls as often).
const CLOUD_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How often to list caches on this machine: as often as a status may be written.
const LOCAL_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A provider, ready for use.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The provider as everybody sees it.
    pub provider: Arc<dyn CacheProvider>,
    /// The same one, where its store is on this machine and volumes can be mounted, exported and verified.
    pub local: Option<Arc<LocalProvider>>,
    /// How often to list its caches when nothing else is said.
    pub poll_interval: Duration,
    /// The rules by which its caches are billed.
    pub tariff: Tariff,
    /// The dialect that its cloud speaks itself.
    pub native_dialect: Option<&'static str>,
    /// The same one, where its cloud tells which cache it would choose itself.
    pub chooser: Option<Arc<dyn CloudChooser>>,
}

/// A cloud that can be asked which cache it would start a pod from.
#[async_trait]
pub trait CloudChooser: fmt::Debug + Send + Sync {
    /// Its choice for a pod with these images, whoever made the cache.
    async fn choose(&self, images: &[ImageRef]) -> imagecache_core::Result<Option<CacheId>>;
}

#[async_trait]
impl CloudChooser for TencentProvider {
    async fn choose(&self, images: &[ImageRef]) -> imagecache_core::Result<Option<CacheId>> {
        Ok(self.most_suitable(images).await?.map(|cache| cache.id))
    }
}

/// The configured name is no provider.
#[derive(Debug, thiserror::Error)]
#[error("configuration: there is no provider `{name}`, choose one of: {}", PROVIDERS.join(", "))]
pub struct UnknownProvider {
    name: String,
}

/// Opens the configured provider. Only its own table has to be valid.
///
/// `owner` is who makes caches, where a provider marks them: two owners never touch each other's. Without one, as on the
/// command line, every cache that this program made is seen.
///
/// # Errors
///
/// When there is no such provider, its table is invalid, or it cannot be opened.
pub async fn open(loaded: &Loaded, owner: Option<String>) -> Result<Opened, Box<dyn Error>> {
    match loaded.config.provider.as_str() {
        imagecache_local::NAME => {
            let config: LocalConfig = loaded.table(imagecache_local::NAME)?;
            let tariff = match config.store.kind {
                StoreKind::Directory => Tariff::Local,
                StoreKind::Ebs => Tariff::LocalEbs,
            };
            let local = tokio::task::spawn_blocking(|| LocalProvider::open(config, system_clock())).await??;
            Ok(Opened {
                provider: Arc::clone(&local) as Arc<dyn CacheProvider>,
                local: Some(local),
                poll_interval: LOCAL_POLL_INTERVAL,
                tariff,
                native_dialect: None,
                chooser: None,
            })
        }
        imagecache_alibaba_eci::NAME => {
            let config: AlibabaConfig = loaded.table(imagecache_alibaba_eci::NAME)?;
            let provider =
                AlibabaProvider::open(config, owner, system_clock()).map_err(|error| misconfigured(&error))?;
            let dialect = alibaba::ImageCache::DIALECT;
            Ok(cloud(Arc::new(provider), Tariff::AlibabaEci, dialect))
        }
        imagecache_tencent_eks::NAME => {
            let config: TencentConfig = loaded.table(imagecache_tencent_eks::NAME)?;
            let provider =
                TencentProvider::open(config, owner, system_clock()).map_err(|error| misconfigured(&error))?;
            let dialect = tencent::ImageCache::DIALECT;
            let provider = Arc::new(provider);
            Ok(Opened {
                chooser: Some(Arc::clone(&provider) as Arc<dyn CloudChooser>),
                ..cloud(provider, Tariff::TencentEks, dialect)
            })
        }
        other => Err(UnknownProvider { name: other.to_owned() }.into()),
    }
}

fn cloud(provider: Arc<dyn CacheProvider>, tariff: Tariff, dialect: &'static str) -> Opened {
    Opened {
        provider,
        local: None,
        poll_interval: CLOUD_POLL_INTERVAL,
        tariff,
        native_dialect: Some(dialect),
        chooser: None,
    }
}

/// Opening a cloud's provider does nothing but read its configuration.
fn misconfigured(error: &imagecache_core::Error) -> String {
    format!("configuration: {}", with_causes(error.message().to_owned(), error))
}

/// Whether the configured provider marks what it makes, so that it should be told who makes it.
pub fn marks_owner(loaded: &Loaded) -> bool {
    [imagecache_alibaba_eci::NAME, imagecache_tencent_eks::NAME].contains(&loaded.config.provider.as_str())
}

/// The whole configuration with every default filled in; of the providers' tables only the chosen one.
///
/// # Errors
///
/// When there is no such provider or its table is invalid.
pub fn effective_config(loaded: &Loaded) -> Result<Dict, Box<dyn Error>> {
    let name = loaded.config.provider.as_str();
    let (table, poll_interval) = match name {
        imagecache_local::NAME => (
            Value::serialize(loaded.table::<LocalConfig>(name)?)?,
            LOCAL_POLL_INTERVAL,
        ),
        imagecache_alibaba_eci::NAME => (
            Value::serialize(loaded.table::<AlibabaConfig>(name)?)?,
            CLOUD_POLL_INTERVAL,
        ),
        imagecache_tencent_eks::NAME => (
            Value::serialize(loaded.table::<TencentConfig>(name)?)?,
            CLOUD_POLL_INTERVAL,
        ),
        other => return Err(UnknownProvider { name: other.to_owned() }.into()),
    };
    let mut config = loaded.config.clone();
    config.controller.poll_interval.get_or_insert(poll_interval);
    let mut effective = Value::serialize(&config)?.into_dict().unwrap_or_default();
    effective.insert(name.to_owned(), table);
    Ok(without_empty(effective))
}

/// Leaves out keys without a value, which TOML cannot write.
fn without_empty(dict: Dict) -> Dict {
    let kept = |(key, value)| match value {
        Value::Empty(..) => None,
        Value::Dict(tag, dict) => Some((key, Value::Dict(tag, without_empty(dict)))),
        other => Some((key, other)),
    };
    dict.into_iter().filter_map(kept).collect()
}

/// Credentials in a `dockerconfigjson` file; what it says of credential helpers is ignored, as Kubernetes does.
///
/// # Errors
///
/// When it is malformed. No message shows a value.
pub fn parse_pull_secret(bytes: &[u8]) -> Result<Vec<RegistryCredential>, Box<dyn Error + Send + Sync>> {
    Ok(Keyring::from_docker_config_json(bytes, "the file")?
        .without_helpers()
        .to_credentials())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn load(args: &[&str]) -> Loaded {
        Loaded::read(&Cli::parse_from(args).global, &Dict::new()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keys without a default, as the shipped files have them.
    const REQUIRED: [(&str, &str); 2] = [
        (imagecache_alibaba_eci::NAME, "region = \"cn-hangzhou\""),
        (
            imagecache_tencent_eks::NAME,
            "region = \"ap-guangzhou\"\ndefaults = { vpc_id = \"vpc-example\", subnet_id = \"subnet-example\" }",
        ),
    ];

    /// A file that is about one way to use a provider, that provider, and the line of its table that chooses the way.
    const WAYS: [(&str, &str, &str); 1] = [("aws-ebs", imagecache_local::NAME, "store = { kind = \"ebs\" }")];

    fn load_text(text: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        load(&["imagecache", "--config", file.to_str().unwrap(), "config"])
    }

    /// Every file that we ship builds its provider, and says nothing but the defaults.
    #[tokio::test]
    async fn shipped_configuration_is_valid_and_complete() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            files += 1;
            let store = tempfile::tempdir().unwrap();
            let (file, dir) = (path.to_str().unwrap(), store.path().to_str().unwrap());
            let loaded = load(&["imagecache", "--config", file, "--store", dir, "list"]);
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let way = WAYS.iter().find(|(file, _, _)| *file == stem);
            let name = way.map_or(stem, |(_, provider, _)| *provider);
            let opened = open(&loaded, Some("a-cluster".to_owned())).await.unwrap();
            assert_eq!(opened.provider.name(), name);
            let shipped = effective_config(&load(&["imagecache", "--config", file, "config"])).unwrap();
            let required = REQUIRED.iter().find(|(provider, _)| *provider == name);
            let required = way
                .map(|(_, _, line)| line)
                .or(required.map(|(_, line)| line))
                .unwrap_or(&"");
            let defaults = load_text(&format!("provider = \"{name}\"\n[{name}]\n{required}"));
            let defaults = effective_config(&defaults).unwrap();
            assert_eq!(
                toml::to_string(&shipped).unwrap(),
                toml::to_string(&defaults).unwrap(),
                "{file}"
            );
        }
        assert!(files > 0);
    }

    #[test]
    fn slips_in_a_providers_table_are_named() {
        for (text, parts) in [
            (
                "[local.store]\npaht = \"/nowhere\"",
                ["`local.store.paht`", "mean `local.store.path`"],
            ),
            ("[local]\nsuorces = []", ["`local.suorces`", "mean `local.sources`"]),
            (
                "provider = \"alibaba-eci\"\n[alibaba-eci.http]\natempts = 1",
                ["`alibaba-eci.http.atempts`", "mean `alibaba-eci.http.attempts`"],
            ),
            (
                "[local.limits]\nmax_layers = \"many\"",
                ["local.limits.max_layers", "many"],
            ),
        ] {
            let error = effective_config(&load_text(text)).unwrap_err().to_string();
            assert!(error.contains("c.toml"), "{text}: {error}");
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }

    #[test]
    fn secret_headers_are_not_shown() {
        let loaded = load_text("[local.registry.host.\"a.com\".headers]\nX-Key = \"hunter2\"");
        let effective = effective_config(&loaded).unwrap();
        let text = toml::to_string(&effective).unwrap();
        assert!(text.contains("X-Key") && !text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn an_unknown_provider_is_named() {
        let error = open(&load(&["imagecache", "--provider", "azure", "list"]), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("azure") && error.contains("local"), "{error}");
    }
}
