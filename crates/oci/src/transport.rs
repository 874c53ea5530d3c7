//! One HTTP request, persistently: connection limit, login, redirects, retries; and bounded reading of answers.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use imagecache_core::{Error, ErrorKind};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use crate::auth::Authenticator;
use crate::challenge::parse_challenges;
use crate::endpoint::Endpoint;
use crate::error::{fail, find_cause};
use crate::retry::{RetryPolicy, retry_after};

/// Redirects followed for one request; registries need one or two.
const MAX_REDIRECTS: usize = 8;

/// What bounds a request, and how errors name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounded<'a> {
    /// What is fetched: "layer 2 of image `x`".
    pub(crate) what: &'a str,
    pub(crate) operation: &'static str,
    pub(crate) retry: &'a RetryPolicy,
}

/// Whether a falsified answer would be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The content's digest is known.
    Digest,
    /// The answer decides what is fetched: it may not come over a weaker connection than was asked for.
    Server,
}

/// One thing to ask one endpoint for.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) client: &'a Client,
    pub(crate) auth: &'a Authenticator,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: Option<&'static str>,
    /// First byte wanted.
    pub(crate) from: u64,
    pub(crate) trust: Trust,
    pub(crate) bounded: Bounded<'a>,
}

/// A successful answer, and its share of the connection limit.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    _connection: OwnedSemaphorePermit,
}

/// Outcome of one attempt.
enum Attempt {
    Done(Answer),
    /// Trying again may help, after this wait if the server named one.
    Again(Error, Option<Duration>),
    Stop(Error),
}

impl Ask<'_> {
    /// Sends the request until it succeeds, cannot succeed, or was tried often enough.
    pub(crate) async fn send(&self) -> Result<Answer, Error> {
        let retry = self.bounded.retry;
        let mut attempt = 1;
        loop {
            let (error, wait) = match self.attempt().await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Stop(error) => return Err(error),
                Attempt::Again(error, wait) => (error, wait),
            };
            if attempt >= retry.attempts || wait.is_some_and(|wait| wait > retry.max_retry_after) {
                return Err(error);
            }
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                attempt,
                "request is tried again"
            );
            tokio::time::sleep(wait.unwrap_or_else(|| retry.delay(attempt, fastrand::f64()))).await;
            attempt += 1;
        }
    }

    /// Gets the whole answer, at most `cap` bytes.
    pub(crate) async fn bytes(&self, cap: usize) -> Result<(reqwest::header::HeaderMap, Bytes), Error> {
        let mut attempt = 1;
        loop {
            let mut answer = self.send().await?;
            match read_all(&mut answer.response, cap, &self.bounded).await {
                Ok(bytes) => return Ok((answer.response.headers().clone(), bytes)),
                Err(error) if !error.kind().is_transient() || attempt >= self.bounded.retry.attempts => {
                    return Err(error);
                }
                Err(_) => {
                    drop(answer);
                    tokio::time::sleep(self.bounded.retry.delay(attempt, fastrand::f64())).await;
                    attempt += 1;
                }
            }
        }
    }

    async fn attempt(&self) -> Attempt {
        let Ok(connection) = self.endpoint.connections.clone().acquire_owned().await else {
            return Attempt::Stop(fail(
                ErrorKind::Internal,
                self.bounded.operation,
                "connection limit is closed",
            ));
        };
        let mut logged_in = false;
        loop {
            let header = self.auth.header(self.endpoint);
            let response = match self.follow(header.as_ref()).await {
                Ok(response) => response,
                Err(attempt) => return attempt,
            };
            let status = response.status();
            if status.is_success() {
                return Attempt::Done(Answer {
                    response,
                    _connection: connection,
                });
            }
            let ours = response.url().origin() == self.url.origin();
            if status == StatusCode::UNAUTHORIZED && ours {
                if logged_in {
                    return Attempt::Stop(self.auth.refusal(self.endpoint, &self.bounded));
                }
                logged_in = true;
                let values = response.headers().get_all(WWW_AUTHENTICATE);
                let challenges: Vec<_> = values.iter().flat_map(|v| parse_challenges(v.as_bytes())).collect();
                let renewed = self
                    .auth
                    .renew(self.client, self.endpoint, &challenges, header.as_ref(), &self.bounded)
                    .await;
                match renewed {
                    Ok(()) => continue,
                    Err(error) => return Attempt::Stop(error),
                }
            }
            return failed(&response, &self.endpoint.host, &self.bounded);
        }
    }

    /// Sends once and follows redirects; credentials go to the endpoint itself only.
    async fn follow(&self, authorization: Option<&HeaderValue>) -> Result<Response, Attempt> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.request(self.method.clone(), url.clone());
            if url.origin() == self.url.origin() {
                request = request.headers(self.endpoint.headers.clone());
                if let Some(value) = authorization {
                    request = request.header(AUTHORIZATION, value.clone());
                }
            }
            if let Some(accept) = self.accept {
                request = request.header(ACCEPT, accept);
            }
            if self.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", self.from));
            }
            let host = host_of(&url);
            let response = send_once(request, &host, &self.bounded).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(next) = target.and_then(|target| url.join(target).ok()) else {
                return Err(self.bad_redirect("to nowhere"));
            };
            if !matches!(next.scheme(), "http" | "https") {
                return Err(self.bad_redirect("to something that is not HTTP"));
            }
            if self.trust == Trust::Server && url.scheme() == "https" && next.scheme() == "http" {
                return Err(self.bad_redirect("from HTTPS to plain HTTP"));
            }
            url = next;
        }
        Err(self.bad_redirect("in circles"))
    }

    fn bad_redirect(&self, how: &str) -> Attempt {
        let message = format!(
            "registry `{}` redirects {} {how}",
            self.endpoint.host, self.bounded.what
        );
        Attempt::Stop(fail(ErrorKind::Unavailable, self.bounded.operation, message))
    }
}

/// Host and port, as errors name them.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Asks a token server, with retries. `refusal` is the error for a login that it does not accept.
pub(crate) async fn token_answer(
    request: RequestBuilder,
    endpoint: &Endpoint,
    refusal: Error,
    bounded: &Bounded<'_>,
    cap: usize,
) -> Result<Bytes, Error> {
    let mut attempt = 1;
    loop {
        let copy = request
            .try_clone()
            .ok_or_else(|| fail(ErrorKind::Internal, "login", "request cannot be repeated"))?;
        let (error, wait) = match send_once(copy, &endpoint.host, bounded).await {
            Ok(mut response) if response.status().is_success() => return read_all(&mut response, cap, bounded).await,
            Ok(response) => match response.status() {
                // OAuth2 servers answer 400 to a grant that they do not like.
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => return Err(refusal),
                _ => match failed(&response, &endpoint.host, bounded) {
                    Attempt::Again(error, wait) => (error, wait),
                    Attempt::Stop(_) | Attempt::Done(_) => {
                        let status = response.status().as_u16();
                        let message = format!("token server of registry `{}` answers {status}", endpoint.host);
                        return Err(fail(ErrorKind::Unauthenticated, bounded.operation, message));
                    }
                },
            },
            Err(Attempt::Again(error, wait)) => (error, wait),
            Err(Attempt::Stop(error)) => return Err(error),
            Err(Attempt::Done(_)) => return Err(fail(ErrorKind::Internal, "login", "unexpected state")),
        };
        if attempt >= bounded.retry.attempts || wait.is_some_and(|wait| wait > bounded.retry.max_retry_after) {
            return Err(error);
        }
        tokio::time::sleep(wait.unwrap_or_else(|| bounded.retry.delay(attempt, fastrand::f64()))).await;
        attempt += 1;
    }
}

async fn send_once(request: RequestBuilder, host: &str, bounded: &Bounded<'_>) -> Result<Response, Attempt> {
    match tokio::time::timeout(bounded.retry.stall_timeout, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(unsent(error, host, bounded)),
        Err(_) => {
            let message = format!("registry host `{host}` does not answer a request for {}", bounded.what);
            Err(Attempt::Again(
                fail(ErrorKind::Unavailable, bounded.operation, message),
                None,
            ))
        }
    }
}

/// Classifies a request that got no answer.
fn unsent(error: reqwest::Error, host: &str, bounded: &Bounded<'_>) -> Attempt {
    // The URL may hold a signature; the host is in our own message.
    let error = error.without_url();
    let tls = tls_problem(&error);
    let about = |problem: &str| {
        let message = format!(
            "registry host `{host}` cannot be reached for {}: {problem}",
            bounded.what
        );
        fail(ErrorKind::Unavailable, bounded.operation, message)
    };
    match tls {
        Some(problem) => Attempt::Stop(about(problem).with_source(error)),
        None if error.is_builder() => Attempt::Stop(about("the request is malformed").with_source(error)),
        None if error.is_connect() => Attempt::Again(about("no connection").with_source(error), None),
        None => Attempt::Again(about("the connection broke").with_source(error), None),
    }
}

/// What is wrong with a TLS handshake, if it is that: time does not mend it.
fn tls_problem(error: &reqwest::Error) -> Option<&'static str> {
    match find_cause::<rustls::Error>(error)? {
        rustls::Error::InvalidCertificate(_) => Some("its certificate is not trusted; configure its `ca`"),
        rustls::Error::InvalidMessage(_) => Some("it does not speak HTTPS; configure `plain_http` if that is right"),
        _ => None,
    }
}

/// Classifies an answer that is not a success.
fn failed(response: &Response, host: &str, bounded: &Bounded<'_>) -> Attempt {
    let status = response.status();
    let header = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let wait = header.and_then(|value| retry_after(value, SystemTime::now()));
    let what = bounded.what;
    let error = |kind, message: String| fail(kind, bounded.operation, message);
    match status {
        StatusCode::NOT_FOUND => Attempt::Stop(error(
            ErrorKind::NotFound,
            format!("{what} does not exist in registry `{host}`"),
        )),
        StatusCode::UNAUTHORIZED => Attempt::Stop(error(
            ErrorKind::Unauthenticated,
            format!("registry `{host}` refuses {what} without login"),
        )),
        StatusCode::FORBIDDEN => Attempt::Stop(error(
            ErrorKind::PermissionDenied,
            format!("registry `{host}` does not allow access to {what}"),
        )),
        StatusCode::TOO_MANY_REQUESTS => {
            let message = format!("registry `{host}` limits requests for {what}");
            Attempt::Again(error(ErrorKind::RateLimited, message).with_retry_after(wait), wait)
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            let message = format!("registry `{host}` answers {} for {what}", status.as_u16());
            Attempt::Again(error(ErrorKind::Unavailable, message).with_retry_after(wait), wait)
        }
        status => {
            let message = format!("registry `{host}` answers {} for {what}", status.as_u16());
            Attempt::Stop(error(ErrorKind::Internal, message))
        }
    }
}

/// Reads an answer to its end: at most `cap` bytes, and never longer than the stall timeout without one.
async fn read_all(response: &mut Response, cap: usize, bounded: &Bounded<'_>) -> Result<Bytes, Error> {
    let what = bounded.what;
    let too_large = || {
        fail(
            ErrorKind::Internal,
            bounded.operation,
            format!("{what} is larger than {cap} bytes"),
        )
    };
    if response.content_length().is_some_and(|length| length > cap as u64) {
        return Err(too_large());
    }
    let reading = async {
        let mut all = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if all.len() + chunk.len() > cap => return Err(too_large()),
                Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                Ok(None) => return Ok(all.into()),
                Err(error) => {
                    let message = format!("the connection broke while reading {what}");
                    return Err(
                        fail(ErrorKind::Unavailable, bounded.operation, message).with_source(error.without_url())
                    );
                }
            }
        }
    };
    // These answers are small: the whole of one gets the time that a download gets for its next byte.
    tokio::time::timeout(bounded.retry.stall_timeout, reading)
        .await
        .unwrap_or_else(|_| {
            Err(fail(
                ErrorKind::Unavailable,
                bounded.operation,
                format!("reading {what} takes too long"),
            ))
        })
}
