//! Plain requests to services that hand out credentials: one attempt, and nothing of the answer in an error.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use imagecache_cloud_http::{CredentialError, ExchangeError, Route, exchange, http_client, is_loopback};
use imagecache_core::{BoxError, Secret};
use url::Url;

/// How a host is reached: the metadata service and this machine never through a proxy.
pub(super) fn route(url: &Url) -> Route {
    match url.host_str() {
        Some(host) if is_loopback(host) || host == super::metadata::DEFAULT_HOST => Route::Direct,
        _ => Route::Environment,
    }
}

/// A client for one host.
#[derive(Debug)]
pub(super) struct Plain {
    client: reqwest::Client,
    limit: Duration,
}

/// A request that brought no success.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlainError {
    /// Nobody is there, or nobody who answers.
    #[error("no answer")]
    Absent(#[source] BoxError),
    /// Somebody is there and says no. Nothing of the body: what it repeats is unknown.
    #[error("HTTP {}", .0.as_u16())]
    Status(StatusCode),
    /// No request can be made.
    #[error("the request cannot be made")]
    Request(#[source] BoxError),
}

impl Plain {
    /// A client that waits `limit` for a whole answer.
    pub(super) fn new(route: Route, limit: Duration) -> Result<Self, BoxError> {
        Ok(Self {
            client: http_client(route)?,
            limit,
        })
    }

    /// The body of a successful answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        header: Option<(&'static str, &Secret<String>)>,
    ) -> Result<Bytes, PlainError> {
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some((name, value)) = header {
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| PlainError::Request("a token holds characters that no HTTP header can carry".into()))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let request = request
            .body(Bytes::new())
            .map_err(|_| PlainError::Request("the address is not one that HTTP can use".into()))?;
        match exchange(&self.client, request, self.limit).await {
            Ok(answer) if answer.status.is_success() => Ok(answer.body),
            Ok(answer) => Err(PlainError::Status(answer.status)),
            Err(error @ ExchangeError::Request(_)) => Err(PlainError::Request(error.into())),
            Err(error) => Err(PlainError::Absent(error.into())),
        }
    }
}

impl PlainError {
    /// What it means for the source `name`.
    pub(super) fn into_credential_error(self, name: &str, message: impl Into<String>) -> CredentialError {
        let (name, message) = (name.to_owned(), message.into());
        let passes = match &self {
            Self::Absent(_) => true,
            Self::Status(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Request(_) => false,
        };
        let source = Some(self.into());
        if passes {
            CredentialError::Unavailable { name, message, source }
        } else {
            CredentialError::Invalid { name, message, source }
        }
    }
}
