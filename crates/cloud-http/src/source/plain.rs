//! Plain requests to services that hand out credentials: one attempt, and nothing of the answer in an error.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use imagecache_core::{BoxError, Secret};

use crate::{CredentialError, ExchangeError, HttpClientError, Route, exchange, http_client};

/// A client for one host.
#[derive(Debug)]
pub struct PlainClient {
    client: reqwest::Client,
    limit: Duration,
}

/// A request that brought no success.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
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

impl PlainClient {
    /// A client that waits `limit` for a whole answer.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(route: Route, limit: Duration) -> Result<Self, HttpClientError> {
        Ok(Self {
            client: http_client(route)?,
            limit,
        })
    }

    /// The body of a successful answer from `url`, which no error shows: it may hold a secret.
    ///
    /// # Errors
    ///
    /// When there is no answer or no success.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        header: Option<(&'static str, &Secret<String>)>,
    ) -> Result<Bytes, PlainError> {
        let mut request = Request::builder().method(method).uri(url);
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
    /// Whether there is no such thing at the address.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status(StatusCode::NOT_FOUND))
    }

    /// What it means for the source `name`.
    pub fn into_credential_error(self, name: &str, message: impl Into<String>) -> CredentialError {
        let passes = match &self {
            Self::Absent(_) => true,
            Self::Status(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Request(_) => false,
        };
        CredentialError::caused_by(self, name, message.into(), passes)
    }
}
