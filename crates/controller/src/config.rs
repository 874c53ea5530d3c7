//! Configuration: file, then environment, then flags; later ones win.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::Dict;
use figment::{Figment, Metadata};
use imagecache_core::matching::RegistryAliases;
use imagecache_core::{duration_text, system_clock};
use imagecache_k8s_api::{ImageCacheDialect as _, alibaba};
use serde::{Deserialize, Serialize};

use crate::cli::Global;
use crate::cost_config::CostConfig;
use crate::kubernetes::{ProfileSources, Settings};
use crate::pods::PodsConfig;
use crate::registry::{Opened, PROVIDERS};
use crate::webhook::WebhookConfig;

/// Prefix of environment variables; two underscores step into a table: `IMAGECACHE_LOCAL__STORE__PATH`.
const ENV_PREFIX: &str = "IMAGECACHE_";
/// Environment variables with the prefix that are no configuration keys, and why they are not: a token is a secret, and
/// the configuration holds none.
const ENV_NOT_CONFIG: [&str; 1] = ["STANDALONE_TOKEN"];

/// What every provider shares. Each provider has a table of its own, which is read only when it is chosen.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Name of the provider.
    pub provider: String,
    /// Logging.
    pub log: LogConfig,
    /// The controller.
    pub controller: ControllerConfig,
    /// Prices for `imagecache cost`.
    pub cost: CostConfig,
    /// How pods and caches are compared.
    pub matching: MatchingConfig,
}

/// Keys of [`Config`]; beside them only the providers' tables stand at the top.
const SHARED_KEYS: [&str; 5] = ["provider", "log", "controller", "cost", "matching"];

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: "local".to_owned(),
            log: LogConfig::default(),
            controller: ControllerConfig::default(),
            cost: CostConfig::default(),
            matching: MatchingConfig::default(),
        }
    }
}

/// How pods and caches are compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchingConfig {
    /// Second names of registries, as `"alias" = "registry"`.
    pub registry_aliases: RegistryAliases,
}

/// Logging, always to stderr.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level or a tracing filter.
    pub filter: String,
    /// Form of a line.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "warn,imagecache=info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The controller, in a cluster and standalone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerConfig {
    /// How often all caches are listed, as a duration with its unit; `None` is what suits the provider.
    #[serde(with = "duration_text::optional")]
    pub poll_interval: Option<Duration>,
    /// Namespaces whose secrets an ImageCache may name as imagePullSecrets; empty is every namespace.
    pub pull_secret_namespaces: Vec<String>,
    /// Whether the ConfigMap `kube-system/eci-profile` gives builds their network where the object names none, and pods what
    /// its selectors add.
    pub eci_profile: bool,
    /// Whether the ConfigMap `kube-system/eks-config` gives all pods its annotations.
    pub eks_config: bool,
    /// Whether caches of objects that are gone are removed, where the provider can tell ours from others'.
    pub remove_orphans: bool,
    /// Address of /healthz, /readyz and /metrics in `controller` mode; empty is none.
    pub health_listen: String,
    /// The webhook that gives pods their caches, in `controller` mode.
    pub webhook: WebhookConfig,
    /// What is done about pods after they were created.
    pub pods: PodsConfig,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            poll_interval: None,
            pull_secret_namespaces: Vec::new(),
            eci_profile: true,
            eks_config: true,
            remove_orphans: true,
            health_listen: "0.0.0.0:8080".to_owned(),
            webhook: WebhookConfig::default(),
            pods: PodsConfig::default(),
        }
    }
}

impl ControllerConfig {
    /// The reconciler's part.
    pub fn settings(&self, provider: &Opened) -> Settings {
        Settings {
            poll_interval: self.poll_interval.unwrap_or(provider.poll_interval),
            pull_secrets: self.pull_secret_namespaces.clone().into(),
            profiles: ProfileSources {
                eci_profile: self.eci_profile,
                eks_config: self.eks_config,
            },
            remove_orphans: self.remove_orphans,
            cost: None,
            registry_aliases: RegistryAliases::default(),
            native_dialect: provider.native_dialect,
            webhook: None,
            // Alibaba Cloud makes caches for pods with its annotation by itself, and free of charge. Of Tencent's annotation it
            // knows nothing.
            pods: self.pods.settings(
                provider
                    .native_dialect
                    .filter(|dialect| *dialect == alibaba::ImageCache::DIALECT),
            ),
            clock: system_clock(),
        }
    }

    /// Where health checks are answered, if anywhere.
    ///
    /// # Errors
    ///
    /// When the text is no address.
    pub fn health_address(&self) -> Result<Option<SocketAddr>, String> {
        if self.health_listen.is_empty() {
            return Ok(None);
        }
        let invalid = |_| {
            format!(
                "configuration: controller.health_listen `{}` is not host:port",
                self.health_listen
            )
        };
        self.health_listen.parse().map(Some).map_err(invalid)
    }
}

/// A configuration that cannot be used. Names the file or variable, the key, and what was expected or meant.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        Self(match &error.kind {
            figment::error::Kind::UnknownField(key, known) => {
                // The path may end in the key itself.
                let table = error
                    .path
                    .strip_suffix(std::slice::from_ref(key))
                    .unwrap_or(&error.path);
                unknown_key(table, key, known, error.metadata.as_ref())
            }
            // figment puts the file on a line of its own.
            _ => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }
}

/// What to say of a key that means nothing: where it stands and what it was probably meant to be.
fn unknown_key(table: &[String], key: &str, known: &[&str], place: Option<&Metadata>) -> String {
    let full = |key: &str| {
        table
            .iter()
            .map(String::as_str)
            .chain([key])
            .collect::<Vec<_>>()
            .join(".")
    };
    let place = place.map(|place| match &place.source {
        Some(source) => format!(" in {source}"),
        None => format!(" in {}", place.name),
    });
    let hint = match nearest(key, known) {
        Some(nearest) => format!("did you mean `{}`?", full(nearest)),
        None => format!("known are: {}", known.join(", ")),
    };
    format!("unknown key `{}`{}, {hint}", full(key), place.unwrap_or_default())
}

/// The known word that `word` is a slip of, if any.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let most_edits = word.chars().count() / 3 + 1;
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(word, candidate);
    known
        .iter()
        .min_by_key(distance)
        .filter(|candidate| distance(candidate) <= most_edits)
        .copied()
}

/// The merged sources, and what of them every command needs.
pub struct Loaded {
    figment: Figment,
    /// The shared part.
    pub config: Config,
}

impl Loaded {
    /// Reads file, environment and flags; `defaults` come below all of them.
    pub fn read(global: &Global, defaults: &Dict) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(defaults));
        if let Some(file) = &global.config {
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed(ENV_PREFIX).ignore(&ENV_NOT_CONFIG);
        let figment = figment
            .merge(environment.map(|name| with_dashes(name.as_str()).into()).split("__"))
            .merge(Serialized::defaults(global.overrides()));
        let known: Vec<&str> = SHARED_KEYS.into_iter().chain(PROVIDERS).collect();
        for key in figment.extract::<Dict>()?.keys() {
            if !known.contains(&key.as_str()) {
                return Err(ConfigError(unknown_key(&[], key, &known, figment.find_metadata(key))));
            }
        }
        let config = figment.extract()?;
        Ok(Self { figment, config })
    }

    /// A provider's own table with its type; a missing table is its default.
    pub fn table<T: serde::de::DeserializeOwned + Default>(&self, name: &str) -> Result<T, ConfigError> {
        if self.figment.contains(name) {
            self.figment.extract_inner(name).map_err(|mut error: figment::Error| {
                // figment puts the table behind the path inside it.
                if error.path.last().is_some_and(|last| last == name) {
                    error.path.rotate_right(1);
                }
                ConfigError::from(error)
            })
        } else {
            Ok(T::default())
        }
    }
}

/// Names of variables have no dashes, names of providers' tables do.
fn with_dashes(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let table = PROVIDERS.iter().find_map(|provider| {
        let rest = lower.strip_prefix(&provider.replace('-', "_"))?;
        rest.starts_with("__").then(|| format!("{provider}{rest}"))
    });
    table.unwrap_or(lower)
}

/// `local.store.path` as a default, below file, environment and flags.
pub fn store_default(path: PathBuf) -> Dict {
    let path = figment::value::Value::from(path.to_string_lossy().into_owned());
    let store: Dict = [("path".to_owned(), path)].into();
    let local: Dict = [("store".to_owned(), store.into())].into();
    [("local".to_owned(), local.into())].into()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn load(file: &str, flags: &[&str]) -> Result<Loaded, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.toml");
        std::fs::write(&path, file).unwrap();
        let args = ["imagecache", "--config", path.to_str().unwrap(), "list"]
            .into_iter()
            .chain(flags.iter().copied());
        Loaded::read(&Cli::parse_from(args).global, &Dict::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file() {
        let loaded = load(
            "provider = \"memory\"\n[local.store]\npath = \"/a\"",
            &["--provider", "local"],
        )
        .unwrap();
        assert_eq!(loaded.config.provider, "local");
        let loaded = load("[local.store]\npath = \"/a\"", &["--store", "/b"]).unwrap();
        let path: String = loaded.figment.extract_inner("local.store.path").unwrap();
        assert_eq!(path, "/b");
    }

    #[test]
    fn mistakes_are_named() {
        for (file, parts) in [
            (
                "povider = \"local\"",
                &["`povider`", "test.toml", "mean `provider`"][..],
            ),
            ("[locale]", &["`locale`", "test.toml", "mean `local`"]),
            ("[zzzzzz]", &["`zzzzzz`", "known are: provider, log"]),
            (
                "[controller]\npol_interval = \"1s\"",
                &[
                    "`controller.pol_interval`",
                    "test.toml",
                    "mean `controller.poll_interval`",
                ],
            ),
            (
                "[controller]\npoll_interval = \"1\"",
                &["controller.poll_interval", "unit"],
            ),
            ("[controller]\npoll_interval = 5", &["controller.poll_interval"]),
            ("[log]\nformat = \"xml\"", &["log.format", "xml"]),
            ("provider = ", &["test.toml"]),
        ] {
            let error = load(file, &[]).err().expect(file);
            for part in parts {
                assert!(error.contains(part), "{file}: {error}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let cli = Cli::parse_from(["imagecache", "--config", "/nonexistent.toml", "list"]);
        assert!(
            Loaded::read(&cli.global, &Dict::new())
                .err()
                .unwrap()
                .to_string()
                .contains("/nonexistent.toml")
        );
    }
}
