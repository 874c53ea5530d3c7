//! `[controller.webhook]`: whether and where pods are asked about.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::Uri;
use serde::{Deserialize, Serialize};

use super::server::PATH;

/// The table. Without an address nothing is served and nothing registered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Address to listen on, as `host:port`; empty is no webhook.
    pub listen: String,
    /// Where the API server reaches a controller that runs outside the cluster; empty is the Service of the manifests. A port
    /// of 0 stands for the one that is listened on.
    pub url: String,
    /// Directory with `tls.crt` and `tls.key` that somebody else keeps, such as cert-manager; empty is a certificate of our own.
    pub certificate_dir: String,
}

/// How the webhook works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
}

/// Where the webhook's certificate comes from, and how the API server finds the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Ours; the API server comes through the Service of the manifests, in the controller's own namespace.
    Service,
    /// Ours; the API server comes to this URL, and the webhook is registered by us.
    Url(Uri),
    /// Files in this directory; everything else is somebody else's.
    Dir(PathBuf),
}

impl WebhookConfig {
    /// How the webhook works, if at all.
    ///
    /// # Errors
    ///
    /// Names the key that makes no sense.
    pub fn settings(&self) -> Result<Option<Settings>, String> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let listen = self.listen.parse().map_err(|_| {
            let listen = &self.listen;
            format!("configuration: controller.webhook.listen `{listen}` is not host:port")
        })?;
        let certificate = match (self.url.as_str(), self.certificate_dir.as_str()) {
            ("", "") => CertificateSource::Service,
            ("", dir) => CertificateSource::Dir(dir.into()),
            (url, "") => CertificateSource::Url(parsed(url)?),
            _ => {
                return Err(
                    "configuration: controller.webhook.url and controller.webhook.certificate_dir exclude each \
                            other, give one of them"
                        .to_owned(),
                );
            }
        };
        Ok(Some(Settings { listen, certificate }))
    }
}

fn parsed(url: &str) -> Result<Uri, String> {
    let parsed: Option<Uri> = url.parse().ok();
    parsed
        .filter(|url| url.scheme_str() == Some("https") && url.host().is_some() && url.query().is_none())
        .ok_or_else(|| {
            format!("configuration: controller.webhook.url `{url}` is not https://host:port, which API servers need")
        })
}

/// The host in `url`, without the brackets of an IPv6 address, and the URL with this port where it says 0.
pub(super) fn completed(url: &Uri, port: u16) -> (String, String) {
    let host = url.host().unwrap_or_default();
    let port = match url.port_u16() {
        Some(0) => format!(":{port}"),
        Some(given) => format!(":{given}"),
        None => String::new(),
    };
    let path = if url.path() == "/" { PATH } else { url.path() };
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    (name, format!("https://{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_meaning() {
        let config = |listen: &str, url: &str, dir: &str| WebhookConfig {
            listen: listen.to_owned(),
            url: url.to_owned(),
            certificate_dir: dir.to_owned(),
        };
        let listen = "127.0.0.1:0";
        let with = |certificate| {
            Ok(Some(Settings {
                listen: listen.parse().unwrap(),
                certificate,
            }))
        };
        let rows = [
            ("off", config("", "https://x", "/y"), Ok(None)),
            ("in a cluster", config(listen, "", ""), with(CertificateSource::Service)),
            (
                "outside",
                config(listen, "https://10.0.0.1:0", ""),
                with(CertificateSource::Url("https://10.0.0.1:0".parse().unwrap())),
            ),
            (
                "cert-manager",
                config(listen, "", "/tls"),
                with(CertificateSource::Dir("/tls".into())),
            ),
            ("no port", config("127.0.0.1", "", ""), Err("controller.webhook.listen")),
            (
                "plain",
                config(listen, "http://10.0.0.1", ""),
                Err("controller.webhook.url"),
            ),
            (
                "no URL",
                config(listen, "10.0.0.1:8443", ""),
                Err("controller.webhook.url"),
            ),
            ("both", config(listen, "https://x", "/y"), Err("certificate_dir")),
        ];
        for (row, config, expected) in rows {
            match (config.settings(), expected) {
                (Err(error), Err(part)) => assert!(error.contains(part), "{row}: {error}"),
                (found, expected) => assert_eq!(found.ok(), expected.ok(), "{row}"),
            }
        }
    }

    #[test]
    fn urls_are_completed() {
        for (url, host, full) in [
            ("https://10.0.0.1:0", "10.0.0.1", "https://10.0.0.1:8443/mutate"),
            (
                "https://hook.example.com/pods",
                "hook.example.com",
                "https://hook.example.com/pods",
            ),
            ("https://[::1]:9443/", "::1", "https://[::1]:9443/mutate"),
        ] {
            assert_eq!(
                completed(&url.parse().unwrap(), 8443),
                (host.to_owned(), full.to_owned()),
                "{url}"
            );
        }
    }
}
