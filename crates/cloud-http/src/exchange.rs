//! One HTTP exchange: a client with our TLS, and a request to its whole answer or to what that failure leaves open.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use imagecache_core::BoxError;
use rustls::RootCertStore;
use tokio::time::timeout;

use crate::Answer;

/// Time to reach a host: name resolution, proxy and TLS included. Shorter than an attempt, so that a host that cannot be
/// reached is told from one that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed after this long: before load balancers do it, which would cost a call that is just sent.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read; a page of a hundred caches is about a tenth of it.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// How a client's connections go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through the proxies that the environment names: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, except `NO_PROXY`.
    Environment,
    /// Straight to the host: metadata services and loopback hosts are never behind a proxy.
    Direct,
}

/// An HTTP client that could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no HTTP client can be made: {0}")]
pub struct HttpClientError(String);

/// An HTTP client: rustls with ring and the system's roots, HTTP/2 where offered, connections reused, no redirects, so
/// that a signature never travels to another host. The environment's proxies are read now and never again.
///
/// # Errors
///
/// When TLS cannot be set up.
pub fn http_client(route: Route) -> Result<reqwest::Client, HttpClientError> {
    client_with(route, tls_config()?)
}

fn client_with(route: Route, tls: rustls::ClientConfig) -> Result<reqwest::Client, HttpClientError> {
    let builder = match route {
        Route::Environment => reqwest::Client::builder(),
        Route::Direct => reqwest::Client::builder().no_proxy(),
    };
    builder
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("imagecache/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
        .map_err(|error| HttpClientError(imagecache_core::chain(&error.without_url())))
}

fn tls_config() -> Result<rustls::ClientConfig, HttpClientError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(
            error = error as &dyn std::error::Error,
            "a system certificate was skipped"
        );
    }
    roots.add_parsable_certificates(native.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpClientError(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A client for each [`Route`]; each keeps its own connections.
#[derive(Clone)]
pub(crate) struct Clients {
    environment: reqwest::Client,
    direct: reqwest::Client,
}

impl Clients {
    pub(crate) fn new() -> Result<Self, HttpClientError> {
        let tls = tls_config()?;
        Ok(Self {
            environment: client_with(Route::Environment, tls.clone())?,
            direct: client_with(Route::Direct, tls)?,
        })
    }

    /// The client that reaches `host`.
    pub(crate) fn to(&self, host: &str) -> &reqwest::Client {
        if is_loopback(host) {
            &self.direct
        } else {
            &self.environment
        }
    }
}

/// Whether `host`, without port, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An exchange that did not bring a whole answer. Its texts hold no URL.
#[derive(Debug)]
pub enum ExchangeError {
    /// What was given is no HTTP request.
    Request(BoxError),
    /// The host was not reached: nothing can have been done.
    NotSent(BoxError),
    /// No complete answer in time, or the connection broke: anything can have been done.
    NoAnswer(BoxError),
    /// The answer is longer than anything that makes sense.
    TooLong,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request(_) => "the request cannot be made",
            Self::NotSent(_) => "the host cannot be reached",
            Self::NoAnswer(_) => "no complete answer",
            Self::TooLong => "the answer is longer than 8 MiB",
        })
    }
}

impl std::error::Error for ExchangeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Request(source) | Self::NotSent(source) | Self::NoAnswer(source) => Some(source.as_ref()),
            Self::TooLong => None,
        }
    }
}

/// No answer within the time for it.
#[derive(Debug, thiserror::Error)]
#[error("nothing complete within {} ms", .0.as_millis())]
struct TimedOut(Duration);

/// Sends `request` once and reads the whole answer, all within `limit`.
///
/// # Errors
///
/// What is known of the exchange when there is no whole answer.
pub async fn exchange(
    client: &reqwest::Client,
    request: http::Request<Bytes>,
    limit: Duration,
) -> Result<Answer, ExchangeError> {
    let (method, empty) = (request.method().clone(), request.body().is_empty());
    let mut request = reqwest::Request::try_from(request).map_err(|error| ExchangeError::Request(plain(error)))?;
    // Written by the HTTP library from the URL; in HTTP/2 there is no such header.
    request.headers_mut().remove(HOST);
    // The HTTP library leaves it out for an empty body, and some gateways refuse that with a 411.
    if empty && matches!(method, Method::POST | Method::PUT) {
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    match timeout(limit, whole_answer(client, request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ExchangeError::NoAnswer(TimedOut(limit).into())),
    }
}

async fn whole_answer(client: &reqwest::Client, request: reqwest::Request) -> Result<Answer, ExchangeError> {
    let mut response = client.execute(request).await.map_err(|error| {
        if error.is_builder() {
            ExchangeError::Request(plain(error))
        } else if error.is_connect() {
            ExchangeError::NotSent(plain(error))
        } else {
            ExchangeError::NoAnswer(plain(error))
        }
    })?;
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_ANSWER_BYTES as u64) {
        return Err(ExchangeError::TooLong);
    }
    let mut body = BytesMut::new();
    while let Some(part) = response
        .chunk()
        .await
        .map_err(|error| ExchangeError::NoAnswer(plain(error)))?
    {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(ExchangeError::TooLong);
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer {
        status,
        headers,
        body: body.freeze(),
    })
}

/// The error without the URL, which may hold secrets.
fn plain(error: reqwest::Error) -> BoxError {
    error.without_url().into()
}
