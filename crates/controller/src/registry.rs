//! The registry of providers: the one place that names them.

use std::error::Error;
use std::sync::Arc;

use figment::value::{Dict, Value};
use imagecache_core::{CacheProvider, RegistryCredential, system_clock};
use imagecache_local::{LocalConfig, LocalProvider};
use imagecache_oci::Keyring;

use crate::config::Loaded;

/// Every provider by its name in configuration.
pub const PROVIDERS: [&str; 1] = [imagecache_local::NAME];

/// A provider, ready for use.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The provider as everybody sees it.
    pub provider: Arc<dyn CacheProvider>,
    /// The same one, where its store is on this machine and volumes can be mounted, exported and verified.
    pub local: Option<Arc<LocalProvider>>,
}

/// The configured name is no provider.
#[derive(Debug, thiserror::Error)]
#[error("configuration: there is no provider `{name}`, choose one of: {}", PROVIDERS.join(", "))]
pub struct UnknownProvider {
    name: String,
}

/// Opens the configured provider. Only its own table has to be valid.
///
/// # Errors
///
/// When there is no such provider, its table is invalid, or it cannot be opened.
pub async fn open(loaded: &Loaded) -> Result<Opened, Box<dyn Error>> {
    match loaded.config.provider.as_str() {
        imagecache_local::NAME => {
            let config: LocalConfig = loaded.table(imagecache_local::NAME)?;
            let local = tokio::task::spawn_blocking(|| LocalProvider::open(config, system_clock())).await??;
            Ok(Opened {
                provider: Arc::clone(&local) as Arc<dyn CacheProvider>,
                local: Some(local),
            })
        }
        other => Err(UnknownProvider { name: other.to_owned() }.into()),
    }
}

/// The whole configuration with every default filled in; of the providers' tables only the chosen one.
///
/// # Errors
///
/// When there is no such provider or its table is invalid.
pub fn effective_config(loaded: &Loaded) -> Result<Dict, Box<dyn Error>> {
    let name = loaded.config.provider.as_str();
    let table = match name {
        imagecache_local::NAME => Value::serialize(loaded.table::<LocalConfig>(name)?)?,
        other => return Err(UnknownProvider { name: other.to_owned() }.into()),
    };
    let shared = Value::serialize(&loaded.config)?.into_dict().unwrap_or_default();
    let mut effective: Dict = shared
        .into_iter()
        .filter(|(key, _)| !PROVIDERS.contains(&key.as_str()))
        .collect();
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
            assert_eq!(
                open(&loaded).await.unwrap().provider.name(),
                path.file_stem().unwrap().to_str().unwrap()
            );
            let shipped = effective_config(&load(&["imagecache", "--config", file, "config"])).unwrap();
            let defaults = effective_config(&load(&["imagecache", "config"])).unwrap();
            assert_eq!(
                toml::to_string(&shipped).unwrap(),
                toml::to_string(&defaults).unwrap(),
                "{file}"
            );
        }
        assert!(files > 0);
    }

    #[test]
    fn secret_headers_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[local.registry.host.\"a.com\".headers]\nX-Key = \"hunter2\"").unwrap();
        let effective = effective_config(&load(&["imagecache", "--config", file.to_str().unwrap(), "config"])).unwrap();
        let text = toml::to_string(&effective).unwrap();
        assert!(text.contains("X-Key") && !text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn an_unknown_provider_is_named() {
        let error = open(&load(&["imagecache", "--provider", "azure", "list"]))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("azure") && error.contains("local"), "{error}");
    }
}
