//! `/healthz`, `/readyz` and `/metrics` for the kubelet and Prometheus.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tracing::debug;

use super::context::Shared;
use super::profile::Profiles;

/// A client that is slower than this with its headers only holds a connection open.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Everything else.
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Says whether the webhook can be talked to, as far as that is up to us.
pub(super) type Certified = Box<dyn Fn() -> bool + Send + Sync>;

/// Whether the controller does its job.
#[derive(Default)]
pub(super) struct Health {
    listed: AtomicBool,
    watching: AtomicBool,
    /// `None` where there is no webhook.
    certified: Option<Certified>,
}

impl Health {
    /// With a webhook, if any.
    pub(super) fn new(certified: Option<Certified>) -> Self {
        Self {
            certified,
            ..Self::default()
        }
    }

    /// The provider answered.
    pub(super) fn listed(&self) {
        self.listed.store(true, Ordering::Relaxed);
    }

    /// At least one kind of object is watched.
    pub(super) fn watching(&self) {
        self.watching.store(true, Ordering::Relaxed);
    }

    /// What is missing until work can be done.
    fn missing(&self, profiles: &Profiles) -> Option<&'static str> {
        if !self.watching.load(Ordering::Relaxed) {
            Some("no ImageCache resource is installed\n")
        } else if !self.listed.load(Ordering::Relaxed) {
            Some("the provider has not answered yet\n")
        } else if !profiles.is_read() {
            Some("the cluster's profiles were not read yet\n")
        } else if self.certified.as_ref().is_some_and(|certified| !certified()) {
            Some("the webhook has no certificate yet\n")
        } else {
            None
        }
    }
}

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, health: &Arc<Health>, shared: &Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (health, shared) = (Arc::clone(health), Arc::clone(shared));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &health, &shared);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                debug!(%error, "a health connection ended early");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, health: &Health, shared: &Shared) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT_TYPE,
            "only GET is answered\n".to_owned(),
        );
    }
    match request.uri().path() {
        "/healthz" => response(StatusCode::OK, TEXT_TYPE, "ok\n".to_owned()),
        "/readyz" => match health.missing(&shared.profiles) {
            None => response(StatusCode::OK, TEXT_TYPE, "ok\n".to_owned()),
            Some(missing) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, missing.to_owned()),
        },
        "/metrics" => response(StatusCode::OK, METRICS_TYPE, shared.metrics.render()),
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT_TYPE,
            "try /healthz, /readyz or /metrics\n".to_owned(),
        ),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
