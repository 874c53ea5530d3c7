//! Serves admission reviews over TLS, with limits on everything that a client can make us hold.
//!
//! HTTP/1.1 only: API servers ask services for nothing else, so that their calls spread over connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::admission::Admission;

/// Where the API server sends reviews.
pub(super) const PATH: &str = "/mutate";
/// Longest review. The API server takes requests up to 3 MiB; the review has the object as JSON, which may be larger than what
/// was sent as protobuf, and wraps it.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Connections at once. An API server keeps 25 idle ones and opens more when many pods come at once.
const MAX_CONNECTIONS: usize = 1024;
/// Time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two requests of one connection, headers included. Longer than an API server keeps an idle connection (90 s), so that it
/// never sends a review on one that we are closing: Go does not repeat a POST then.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// For the body. No API server waits longer than 30 s for a webhook.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For requests under way when we are asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until `stop` is cancelled, then finishes what is under way.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    admission: Arc<Admission>,
    stop: CancellationToken,
) {
    let tls = TlsAcceptor::from(tls);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = GracefulShutdown::new();
    loop {
        let accepted = async {
            // Never closed, so this always is a permit.
            let permit = Arc::clone(&connections).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, admission, watcher) = (tls.clone(), Arc::clone(&admission), open.watcher());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, tls, admission, watcher).await {
                debug!(%error, "a connection of the webhook ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, open.shutdown()).await.is_err() {
        debug!("connections of the webhook are cut");
    }
}

async fn connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    admission: Arc<Admission>,
    open: Watcher,
) -> Result<(), imagecache_core::BoxError> {
    // An answer is one small write: it must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    let service = service_fn(move |request| {
        let admission = Arc::clone(&admission);
        async move { Ok::<_, Infallible>(answer(request, &admission).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    Ok(open.watch(connection).await?)
}

async fn answer(request: Request<Incoming>, admission: &Admission) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return text(StatusCode::NOT_FOUND, format!("try POST {PATH}\n"));
    }
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered\n".to_owned());
    }
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a review has at most {MAX_BODY_BYTES} bytes\n"),
            );
        }
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body is cut short\n".to_owned()),
        Err(_) => {
            return text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time\n".to_owned(),
            );
        }
    };
    match admission.review(&body) {
        Ok(json) => response(StatusCode::OK, "application/json", json.into()),
        Err(problem) => text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.into())
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
