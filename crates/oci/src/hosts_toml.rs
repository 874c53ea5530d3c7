//! containerd's `hosts.toml` files, read into our own host configuration.

use std::path::{Path, PathBuf};

use imagecache_core::{Error, ErrorKind, Secret};
use serde::Deserialize;

use crate::error::fail;
use crate::hosts_config::{Capability, Headers, HostConfig, MirrorConfig};

/// Directory that containerd uses for hosts without one of their own.
const DEFAULT_DIR: &str = "_default";
/// Largest `hosts.toml` that we read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads the file for `host` below containerd's directory `dir`; `None` when there is none.
pub(crate) fn load(dir: &Path, host: &str) -> Result<Option<HostConfig>, Error> {
    // Directory names in containerd's order of preference; a colon is not allowed in every file system.
    let with_underscores = host.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
    let names = with_underscores.iter().map(String::as_str).chain([host, DEFAULT_DIR]);
    for name in names {
        // A host is a domain, not a path; a reference's grammar promises that, a caller's host may not.
        if name.contains('/') || name == ".." {
            continue;
        }
        let path = dir.join(name).join("hosts.toml");
        let bad = |error: imagecache_core::BoxError| {
            fail(
                ErrorKind::InvalidSpec,
                "hosts",
                format!("registry configuration `{}` cannot be read", path.display()),
            )
            .with_source(error)
        };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(bad(error.into())),
            Ok(found) if found.len() > MAX_BYTES => return Err(bad("the file is too large".into())),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| bad(error.into()))?;
        let base = path.parent().unwrap_or(dir);
        return parse(&text, base).map(Some).map_err(|error| bad(error.into()));
    }
    Ok(None)
}

/// Parses a `hosts.toml`; relative certificate paths are below `base`. Keys that we do not know are ignored, as the file
/// is containerd's, except client certificates, without which nothing would work.
pub fn parse(text: &str, base: &Path) -> Result<HostConfig, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut config = HostConfig {
        server: file.server.map(with_scheme),
        ..HostConfig::default()
    };
    if file.own.client.is_some() {
        return Err("client certificates are not supported".to_owned());
    }
    config.ca = file.own.ca.map(|ca| ca.paths(base)).unwrap_or_default();
    config.skip_verify = file.own.skip_verify.unwrap_or_default();
    config.headers = headers(&file.own.header);
    for (url, value) in file.host {
        let host: Own = value.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        if host.client.is_some() {
            return Err(format!("client certificates are not supported (host `{url}`)"));
        }
        let capabilities = match host.capabilities {
            Some(list) => list.iter().filter_map(|name| capability(name)).collect(),
            None => vec![Capability::Pull, Capability::Resolve],
        };
        config.mirrors.push(MirrorConfig {
            url: with_scheme(url),
            capabilities,
            override_path: host.override_path.unwrap_or_default(),
            ca: host.ca.map(|ca| ca.paths(base)).unwrap_or_default(),
            skip_verify: host.skip_verify.unwrap_or_default(),
            headers: headers(&host.header),
        });
    }
    Ok(config)
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(flatten)]
    own: Own,
    /// Kept in the order of the file, which is the order to ask in.
    #[serde(default)]
    host: toml::Table,
}

#[derive(Deserialize)]
struct Own {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    override_path: Option<bool>,
    #[serde(default)]
    header: std::collections::BTreeMap<String, OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn values(&self) -> Vec<&str> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more.iter().map(String::as_str).collect(),
        }
    }

    fn paths(&self, base: &Path) -> Vec<PathBuf> {
        self.values().into_iter().map(|path| base.join(path)).collect()
    }
}

fn headers(raw: &std::collections::BTreeMap<String, OneOrMore>) -> Headers {
    Headers(
        raw.iter()
            .map(|(name, value)| (name.clone(), Secret::new(value.values().join(", "))))
            .collect(),
    )
}

fn capability(name: &str) -> Option<Capability> {
    match name {
        "pull" => Some(Capability::Pull),
        "resolve" => Some(Capability::Resolve),
        _ => None,
    }
}

fn with_scheme(url: String) -> String {
    if url.contains("://") {
        url
    } else {
        format!("https://{url}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_containerds_example() {
        let text = r#"
            server = "https://docker.io"
            [host."https://z-first.example.com"]
              capabilities = ["pull"]
              ca = "ca.pem"
              dial_timeout = "3s"
            [host."http://a-second.example.com:5000/prefix"]
              capabilities = ["pull", "resolve", "push"]
              override_path = true
              skip_verify = true
              [host."http://a-second.example.com:5000/prefix".header]
                x-custom = ["a", "b"]
        "#;
        let config = parse(text, Path::new("/etc/containerd/certs.d/docker.io")).unwrap();
        assert_eq!(config.server.as_deref(), Some("https://docker.io"));
        let [first, second] = &config.mirrors[..] else {
            panic!("{config:?}")
        };
        assert_eq!(first.url, "https://z-first.example.com");
        assert_eq!(first.capabilities, [Capability::Pull]);
        assert_eq!(first.ca, [Path::new("/etc/containerd/certs.d/docker.io/ca.pem")]);
        assert_eq!(second.capabilities, [Capability::Pull, Capability::Resolve]);
        assert!(second.override_path && second.skip_verify);
        assert_eq!(second.headers.0["x-custom"].expose(), "a, b");
    }

    #[test]
    fn client_certificates_are_refused() {
        let error = parse("[host.\"https://a\"]\nclient = \"a.pem\"", Path::new("/")).unwrap_err();
        assert!(error.contains("client certificates"), "{error}");
    }
}
