//! A registry mirror on loopback: what is needed to start a cached image, manifest and config, when its registry is away.
//!
//! containerd asks it by its own configuration of mirrors (`hosts.toml`). It never gives a layer: those are mounted, or pulled
//! from the registry. Every document is hashed anew before it is given.
//!
//! Who may have one, decided here and nowhere else:
//!
//! - An image that its registry gives to anyone is given to anyone on this node. Who built the cache found that out.
//! - Any other is given to whoever brings credentials that the registry accepts: it is asked, with just those. While it cannot be
//!   reached, those count that it accepted before, in this process, not too long ago.
//! - Everybody else hears the same as if the image were not here.

mod gate;
mod library;
mod request;

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;

pub use gate::{Login, Permission, Upstream};

use crate::error::{Error, Result};
use crate::metrics::MirrorOutcome;
use crate::snapshotter::Snapshotter;
use crate::web::{self, Answer, answer};
use gate::Gate;
use library::{Document, Lookup};
use request::Asked;

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION_HEADER: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const JSON: &str = "application/json";
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"imagecache\"");

/// Listens for containerd.
///
/// # Errors
/// `InvalidArgument` for an address that other machines reach: what is served is for this node, over plain HTTP.
pub async fn listen_mirror(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(Error::InvalidArgument(format!(
            "the mirror is for this node only: {address} is not a loopback address, take 127.0.0.1:{} or [::1]:{}",
            address.port(),
            address.port()
        )));
    }
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Error::io("listen on", address.to_string(), error))
}

/// Serves until `shutdown`.
pub async fn serve_mirror(
    snapshotter: Arc<Snapshotter>,
    listener: TcpListener,
    upstream: Arc<dyn Upstream>,
    shutdown: impl Future<Output = ()>,
) {
    let mirror = Arc::new(Mirror {
        snapshotter,
        gate: Gate::new(upstream),
    });
    let handler: web::Handler = Arc::new(move |request| {
        let mirror = Arc::clone(&mirror);
        Box::pin(async move { mirror.answer(&request).await })
    });
    web::serve(listener, handler, shutdown).await;
}

struct Mirror {
    snapshotter: Arc<Snapshotter>,
    gate: Gate,
}

impl Mirror {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this mirror only reads");
            refusal
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        if matches!(request.uri().path(), "/v2" | "/v2/") {
            return versioned(answer(StatusCode::OK, JSON, "{}"));
        }
        let Some(asked) = Asked::parse(request.uri().path(), request.uri().query().unwrap_or_default()) else {
            return unknown();
        };
        let (outcome, answer) = self.decide(asked, request.headers().get(AUTHORIZATION)).await;
        self.snapshotter.metrics().mirrored(outcome);
        answer
    }

    async fn decide(&self, asked: Asked, authorization: Option<&HeaderValue>) -> (MirrorOutcome, Answer) {
        let stores = self.snapshotter.supply().catalog.stores();
        let image = asked.image.clone();
        let found = tokio::task::spawn_blocking(move || library::find(&stores, &asked)).await;
        let document = match found {
            Ok(Lookup::Found(document)) if document.public => {
                return (MirrorOutcome::Public, serve(*document));
            }
            Ok(Lookup::Found(document)) => Some(document),
            // That it is public is no secret, so nor is what it lacks.
            Ok(Lookup::Unknown { public: true }) => return (MirrorOutcome::Unknown, unknown()),
            Ok(Lookup::Unknown { public: false }) | Err(_) => None,
        };
        let Some(login) = authorization.and_then(Login::parse) else {
            return (MirrorOutcome::Challenged, challenge());
        };
        let Some(document) = document else {
            return (MirrorOutcome::Unknown, unknown());
        };
        if self.gate.admits(&image, &document.manifest, &login).await {
            (MirrorOutcome::Known, serve(*document))
        } else {
            tracing::info!(%image, "the mirror refused a private image");
            (MirrorOutcome::Refused, unknown())
        }
    }
}

fn serve(document: Document) -> Answer {
    tracing::debug!(image = %document.image, digest = %document.digest, "the mirror serves a document");
    let length = document.bytes.len();
    let mut answer = versioned(answer(StatusCode::OK, JSON, document.bytes));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    if let Ok(value) = HeaderValue::from_str(&document.media_type) {
        headers.insert(http::header::CONTENT_TYPE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&document.digest.to_string()) {
        headers.insert(DIGEST_HEADER, value);
    }
    answer
}

/// What whoever may not have an image hears, and whoever asks for one that is not here.
fn unknown() -> Answer {
    problem(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "not here")
}

fn challenge() -> Answer {
    let mut answer = problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "not here, or not for anyone");
    answer.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    answer
}

fn problem(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    versioned(answer(status, JSON, body.to_string()))
}

fn versioned(mut answer: Answer) -> Answer {
    let version = HeaderValue::from_static("registry/2.0");
    answer.headers_mut().insert(VERSION_HEADER, version);
    answer
}
