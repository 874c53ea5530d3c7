//! Configuration of registry hosts: mirrors, rewrites, plain HTTP, private CAs, limits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use imagecache_core::Secret;
use serde::{Deserialize, Serialize, Serializer};

/// Connections to one registry host at a time, unless configured. Enough to fill a fast line with a few layers, few
/// enough not to be throttled.
pub const DEFAULT_MAX_CONNECTIONS: usize = 6;

/// How to reach registries. Without any configuration every registry is reached over HTTPS at its own name, loopback
/// hosts over plain HTTP.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostsConfig {
    /// Directory in containerd's format (`<dir>/<host>/hosts.toml`, `<dir>/_default/hosts.toml`), for example
    /// `/etc/containerd/certs.d`. Hosts that `host` names ignore it. Default: none.
    pub containerd_dir: Option<PathBuf>,
    /// One table for each registry host, named as in image references: `docker.io`, `registry.example.com:5000`.
    pub host: BTreeMap<String, HostConfig>,
}

/// How to reach one registry host.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// URL of the registry itself, asked after the mirrors. Default: `https://<host>` (`http://` on loopback hosts).
    pub server: Option<String>,
    /// `true`: speak plain HTTP. `false`: speak HTTPS even to a loopback host.
    pub plain_http: Option<bool>,
    /// PEM files with certificate authorities to trust besides the system's.
    pub ca: Vec<PathBuf>,
    /// Accept any certificate. Digests still protect what is fetched by digest, but not tags and not passwords.
    pub skip_verify: bool,
    /// Headers sent with every request to this host; their values are secret.
    pub headers: Headers,
    /// Most connections at a time to this host. Default: 6.
    pub max_connections: Option<usize>,
    /// Asked in this order, before the registry itself.
    pub mirrors: Vec<MirrorConfig>,
    /// The first rule whose prefix fits the repository is applied before anything is asked.
    pub rewrites: Vec<RewriteRule>,
}

/// Another place that serves a registry's images.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// `http://` or `https://` URL, with an optional path prefix.
    pub url: String,
    /// What it may be asked. Default: both.
    #[serde(default = "both_capabilities")]
    pub capabilities: Vec<Capability>,
    /// `true`: the URL's path is the whole API prefix; nothing like `/v2` is appended.
    #[serde(default)]
    pub override_path: bool,
    /// PEM files with certificate authorities to trust besides the system's.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// Accept any certificate.
    #[serde(default)]
    pub skip_verify: bool,
    /// Headers sent with every request to this mirror; their values are secret.
    #[serde(default)]
    pub headers: Headers,
}

/// What a mirror may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Content by digest, which cannot be falsified.
    Pull,
    /// What a tag means now: the mirror is trusted to know.
    Resolve,
}

/// Replaces the beginning of a repository name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RewriteRule {
    /// Beginning to look for, ended by `/` or the end of the name; empty fits every name.
    pub prefix: String,
    /// What to put in its place.
    pub replacement: String,
}

/// Header names and values. Values are shown nowhere: they often are keys.
#[derive(Clone, Debug, Default)]
pub struct Headers(pub BTreeMap<String, Secret<String>>);

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, "(secret)")))
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self(
            plain
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
        ))
    }
}

fn both_capabilities() -> Vec<Capability> {
    vec![Capability::Pull, Capability::Resolve]
}

impl RewriteRule {
    /// The rewritten repository, if the rule fits.
    pub fn apply(&self, repository: &str) -> Option<String> {
        let prefix = self.prefix.trim_end_matches('/');
        let rest = repository.strip_prefix(prefix)?;
        let rest = if prefix.is_empty() || rest.is_empty() {
            rest
        } else {
            rest.strip_prefix('/')?
        };
        let replacement = self.replacement.trim_matches('/');
        Some(
            [replacement, rest]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("/"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_whole_path_parts() {
        for (prefix, replacement, repository, expected) in [
            ("library", "hub/library", "library/nginx", Some("hub/library/nginx")),
            ("library/", "hub/", "library/nginx", Some("hub/nginx")),
            ("lib", "x", "library/nginx", None),
            ("", "proxy", "a/b", Some("proxy/a/b")),
            ("a", "", "a/b", Some("b")),
        ] {
            let rule = RewriteRule {
                prefix: prefix.to_owned(),
                replacement: replacement.to_owned(),
            };
            assert_eq!(rule.apply(repository).as_deref(), expected, "{prefix} -> {replacement}");
        }
    }

    #[test]
    fn a_typo_is_refused_and_headers_stay_hidden() {
        assert!(toml::from_str::<HostsConfig>("[host.\"a\"]\nplain_htp = true").is_err());
        let text = "[host.\"a\"]\nheaders = { X-Key = \"hunter2\" }\n[[host.\"a\".mirrors]]\nurl = \"https://m\"";
        let config = toml::from_str::<HostsConfig>(text).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }
}
