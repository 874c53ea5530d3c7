//! What an endpoint of the user's own may be.

use url::Url;

use crate::is_loopback;

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL of a host.
    #[error("`{0}` is no endpoint; write a host like `api.example.com` or `https://` and a host")]
    NotAHost(String),
    /// It would send secrets in the clear.
    #[error(
        "`{0}` is plain HTTP, and access keys and registry passwords travel in every call; use https, plain HTTP is accepted for this machine only"
    )]
    Plain(String),
}

/// Reads an endpoint: a host with optional port and scheme.
///
/// # Errors
///
/// When it is none, or would send secrets in the clear.
pub fn parse_endpoint(text: &str) -> Result<Url, EndpointError> {
    let wrong = || EndpointError::NotAHost(text.to_owned());
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&full).map_err(|_| wrong())?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let host = url.host_str().filter(|_| bare).ok_or_else(wrong)?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        "http" => Err(EndpointError::Plain(text.to_owned())),
        _ => Err(wrong()),
    }
}

/// Host and port of `url` as the header `host` has them.
pub fn host_header(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_ones_own() {
        for (text, expected) in [
            ("api.example.com", Some("https://api.example.com/")),
            ("api.example.com:8443", Some("https://api.example.com:8443/")),
            ("https://api.example.com", Some("https://api.example.com/")),
            ("http://127.0.0.1:1234", Some("http://127.0.0.1:1234/")),
            ("http://[::1]:1234", Some("http://[::1]:1234/")),
            ("http://localhost:1234/", Some("http://localhost:1234/")),
            ("http://api.example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("ftp://api.example.com", None),
            ("https://api.example.com/path", None),
            ("https://user:password@api.example.com", None),
            ("https://api.example.com?a=b", None),
            ("not a host", None),
            ("", None),
        ] {
            assert_eq!(
                parse_endpoint(text).ok().map(String::from).as_deref(),
                expected,
                "{text}"
            );
        }
        let plain = parse_endpoint("http://api.example.com").unwrap_err().to_string();
        assert!(plain.contains("registry passwords travel"), "{plain}");
        let url = parse_endpoint("http://127.0.0.1:1234").unwrap();
        assert_eq!(host_header(&url), "127.0.0.1:1234");
        let url = parse_endpoint("https://api.example.com:443").unwrap();
        assert_eq!(host_header(&url), "api.example.com");
    }
}
