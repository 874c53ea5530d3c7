//! From a registry host and its configuration to the list of places to ask.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use imagecache_core::{Error, ErrorKind, ImageRef};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use url::Url;

use crate::error::fail;
use crate::hosts_config::{Capability, DEFAULT_MAX_CONNECTIONS, Headers, HostConfig, HostsConfig};
use crate::hosts_toml;
use crate::tls::TlsSettings;

/// Docker Hub's name in image references, and where its API is.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// Path of the registry API.
const API_PATH: &str = "/v2";

/// One place that serves a repository.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host and path prefix up to and including `/v2`; no final slash.
    base: Url,
    /// Host and port, as errors name it.
    pub(crate) host: String,
    /// Repository name there.
    pub(crate) repository: String,
    /// The original registry, told to mirrors (`ns=`) so that one mirror can serve several.
    namespace: Option<String>,
    /// Whether it may say what a tag means.
    pub(crate) resolves: bool,
    /// Whether it may serve content by digest.
    pub(crate) pulls: bool,
    pub(crate) tls: TlsSettings,
    pub(crate) headers: HeaderMap,
    pub(crate) connections: Arc<Semaphore>,
}

impl Endpoint {
    /// URL of `<repository>/<kind>/<reference>`.
    pub(crate) fn url(&self, kind: &str, reference: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}/{kind}/{reference}", self.base.path(), self.repository));
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Whether this endpoint itself speaks plain HTTP.
    pub(crate) fn is_plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// Whether this is not the registry itself.
    pub(crate) fn is_mirror(&self) -> bool {
        self.namespace.is_some()
    }

    /// Scheme, host and port, the unit that credentials belong to.
    pub(crate) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}

/// Registries that one request treats specially, by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostOverrides {
    pub(crate) plain_http: Vec<String>,
    pub(crate) insecure: Vec<String>,
}

/// Connection limits by host, shared by everything in the process.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLimits(Mutex<HashMap<String, Arc<Semaphore>>>);

impl ConnectionLimits {
    fn get(&self, host: &str, limit: usize) -> Arc<Semaphore> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            made.entry(host.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(limit.max(1)))),
        )
    }
}

/// The endpoints for `image`: mirrors in their order, then the registry itself.
pub(crate) fn endpoints(
    image: &ImageRef,
    config: &HostsConfig,
    overrides: &HostOverrides,
    limits: &ConnectionLimits,
) -> Result<Vec<Endpoint>, Error> {
    let registry = image.registry();
    let host = match (config.host.get(registry), &config.containerd_dir) {
        (Some(host), _) => host.clone(),
        (None, Some(dir)) => hosts_toml::load(dir, registry)?.unwrap_or_default(),
        (None, None) => HostConfig::default(),
    };
    let repository = host
        .rewrites
        .iter()
        .find_map(|rule| rule.apply(image.repository()))
        .unwrap_or_else(|| image.repository().to_owned());
    let limit = host.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS);
    let mut list = Vec::new();
    for mirror in &host.mirrors {
        list.push(endpoint(Place {
            url: &mirror.url,
            override_path: mirror.override_path,
            namespace: Some(registry.to_owned()),
            repository: &repository,
            capabilities: &mirror.capabilities,
            ca: &mirror.ca,
            skip_verify: mirror.skip_verify,
            headers: &mirror.headers,
            limits,
            limit,
        })?);
    }
    let insecure = overrides.insecure.iter().any(|name| same_host(name, registry));
    let plain_http = match host.plain_http {
        Some(plain) => plain,
        None if overrides.plain_http.iter().any(|name| same_host(name, registry)) => true,
        // Docker and containerd do the same; whoever configures certificates means HTTPS.
        None => {
            is_loopback(registry) && !registry.ends_with(":443") && !insecure && host.ca.is_empty() && !host.skip_verify
        }
    };
    let scheme = if plain_http { "http" } else { "https" };
    let address = if registry == DOCKER_HUB.0 {
        DOCKER_HUB.1
    } else {
        registry
    };
    let server = host.server.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
    // containerd's own files name Docker Hub by its reference name.
    let server = if server == "https://docker.io" {
        format!("https://{}", DOCKER_HUB.1)
    } else {
        server
    };
    list.push(endpoint(Place {
        url: &server,
        override_path: false,
        namespace: None,
        repository: &repository,
        capabilities: &[Capability::Pull, Capability::Resolve],
        ca: &host.ca,
        skip_verify: host.skip_verify || insecure,
        headers: &host.headers,
        limits,
        limit,
    })?);
    Ok(list)
}

struct Place<'a> {
    url: &'a str,
    override_path: bool,
    namespace: Option<String>,
    repository: &'a str,
    capabilities: &'a [Capability],
    ca: &'a [PathBuf],
    skip_verify: bool,
    headers: &'a Headers,
    limits: &'a ConnectionLimits,
    limit: usize,
}

fn endpoint(place: Place<'_>) -> Result<Endpoint, Error> {
    let bad = |problem: &str| {
        let message = format!("registry address `{}` {problem}", crate::media_type::clip(place.url));
        fail(ErrorKind::InvalidSpec, "hosts", message)
    };
    let mut base = Url::parse(place.url).map_err(|_| bad("is not a URL"))?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(bad("is neither http:// nor https://"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        // The address itself is not repeated: it holds a password.
        return Err(fail(
            ErrorKind::InvalidSpec,
            "hosts",
            "a registry address holds a password; use a credential",
        ));
    }
    base.set_query(None);
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/').to_owned();
    let path = if place.override_path || path.ends_with(API_PATH) {
        path
    } else {
        format!("{path}{API_PATH}")
    };
    base.set_path(&path);
    let name = base.host_str().ok_or_else(|| bad("has no host"))?;
    let host = base
        .port()
        .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
    let mut headers = HeaderMap::new();
    for (name, value) in &place.headers.0 {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("has a malformed header name"))?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad("has a malformed header value"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(Endpoint {
        repository: place.repository.to_owned(),
        namespace: place.namespace,
        resolves: place.capabilities.contains(&Capability::Resolve),
        pulls: place.capabilities.contains(&Capability::Pull),
        tls: TlsSettings {
            ca: place.ca.to_vec(),
            skip_verify: place.skip_verify,
            direct: is_loopback(&host),
        },
        headers,
        connections: place.limits.get(&host, place.limit),
        base,
        host,
    })
}

/// Whether `host` (with optional port) is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn same_host(name: &str, registry: &str) -> bool {
    name.trim_end_matches('/').eq_ignore_ascii_case(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(image: &str, config: &str) -> Vec<String> {
        let config: HostsConfig = toml::from_str(config).unwrap();
        let image = ImageRef::parse(image).unwrap();
        let list = endpoints(&image, &config, &HostOverrides::default(), &ConnectionLimits::default()).unwrap();
        list.iter().map(|e| e.url("manifests", "t").to_string()).collect()
    }

    #[test]
    fn builds_urls() {
        for (name, image, config, expected) in [
            (
                "hub",
                "nginx",
                "",
                vec!["https://registry-1.docker.io/v2/library/nginx/manifests/t"],
            ),
            (
                "loopback",
                "127.0.0.1:5000/a",
                "",
                vec!["http://127.0.0.1:5000/v2/a/manifests/t"],
            ),
            (
                "loopback https",
                "localhost:443/a",
                "",
                vec!["https://localhost/v2/a/manifests/t"],
            ),
            (
                "plain",
                "r.io/a",
                "[host.\"r.io\"]\nplain_http = true",
                vec!["http://r.io/v2/a/manifests/t"],
            ),
            (
                "mirror and rewrite",
                "r.io/a/b",
                "[host.\"r.io\"]\nmirrors = [{ url = \"https://m/x\" }, { url = \"https://o/y\", override_path = true }]\n\
                 rewrites = [{ prefix = \"a\", replacement = \"z\" }]",
                vec![
                    "https://m/x/v2/z/b/manifests/t?ns=r.io",
                    "https://o/y/z/b/manifests/t?ns=r.io",
                    "https://r.io/v2/z/b/manifests/t",
                ],
            ),
        ] {
            assert_eq!(urls(image, config), expected, "{name}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_refused_unseen() {
        let config: HostsConfig = toml::from_str("[host.\"r.io\"]\nserver = \"https://u:hunter2@r.io\"").unwrap();
        let image = ImageRef::parse("r.io/a").unwrap();
        let error = endpoints(&image, &config, &HostOverrides::default(), &ConnectionLimits::default()).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
