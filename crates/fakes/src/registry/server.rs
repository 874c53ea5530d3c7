//! The HTTP side: routes, ranges, and bodies that break as told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::fault::take;
use super::{FaultKind, Request, State, lock};
use crate::image::digest_of;

/// Bytes sent at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Digest of nothing, a wrong one for everything else.
const EMPTY_DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // In a set that dies with this task, so that a dropped registry really is gone.
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(request, &state).await) }
            });
            // A broken connection is what some faults are for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: hyper::Request<Incoming>, state: &State) -> Response<Body> {
    let text = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let mut record = Request {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: text(RANGE),
        authorization: text(AUTHORIZATION),
        status: 0,
    };
    let host = text(HOST).unwrap_or_default();
    let fault = take(&mut lock(&state.faults), &record.path);
    if matches!(fault, Some(FaultKind::NoAnswer)) {
        lock(&state.requests).push(record);
        return std::future::pending().await;
    }
    let response = if record.path == "/token" {
        let form = match *request.method() {
            Method::POST => request
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes())
                .unwrap_or_default(),
            _ => Bytes::from(record.query.clone()),
        };
        token(state, &record, &String::from_utf8_lossy(&form), fault.as_ref())
    } else {
        route(state, &record, &host, fault)
    };
    record.status = response.status().as_u16();
    lock(&state.requests).push(record);
    response
}

fn token(state: &State, record: &Request, form: &str, fault: Option<&FaultKind>) -> Response<Body> {
    match fault {
        Some(FaultKind::Status(status)) => return plain(*status, "told to fail"),
        Some(FaultKind::Replace(_, body)) => return respond(200, body.clone()),
        _ => {}
    }
    match state.token(record.authorization.as_deref(), form) {
        Some(token) => respond(200, Bytes::from(format!(r#"{{"token":"{token}","expires_in":300}}"#))),
        None => plain(401, "no token"),
    }
}

fn route(state: &State, record: &Request, host: &str, fault: Option<FaultKind>) -> Response<Body> {
    match &fault {
        Some(FaultKind::Status(status)) => return plain(*status, "told to fail"),
        Some(FaultKind::RateLimit(after)) => return with(plain(429, "slow down"), RETRY_AFTER.as_str(), after),
        Some(FaultKind::RedirectTo(url)) => {
            return with(plain(307, ""), LOCATION.as_str(), &format!("{url}{}", record.path));
        }
        Some(FaultKind::RedirectLoop) => return with(plain(307, ""), LOCATION.as_str(), &record.path),
        Some(FaultKind::Replace(media_type, body)) => {
            return with(respond(200, body.clone()), CONTENT_TYPE.as_str(), media_type);
        }
        Some(FaultKind::Endless(bytes)) => return endless(*bytes),
        Some(FaultKind::ExpireTokens) => lock(&state.tokens).clear(),
        _ => {}
    }
    let Some(rest) = record.path.strip_prefix("/v2/") else {
        return plain(404, "not the API");
    };
    let parts = ["/manifests/", "/blobs/"].iter().find_map(|kind| {
        rest.rsplit_once(kind)
            .map(|(repository, reference)| (repository, *kind, reference))
    });
    let Some((repository, kind, reference)) = parts else {
        return plain(if rest.is_empty() { 200 } else { 404 }, "{}");
    };
    if let Err(challenge) = state.authorize(host, repository, record.authorization.as_deref()) {
        return with(plain(401, "log in"), WWW_AUTHENTICATE.as_str(), &challenge);
    }
    let found = match kind {
        "/blobs/" => lock(&state.blobs)
            .get(reference)
            .map(|b| ("application/octet-stream".to_owned(), b.clone())),
        _ => lock(&state.manifests)
            .get(&(repository.to_owned(), reference.to_owned()))
            .cloned(),
    };
    let Some((media_type, bytes)) = found else {
        return plain(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#);
    };
    let digest = match fault {
        Some(FaultKind::WrongDigestHeader) => EMPTY_DIGEST.to_owned(),
        _ => digest_of(&bytes),
    };
    let response = content(record, bytes, fault);
    let response = with(response, CONTENT_TYPE.as_str(), &media_type);
    if kind == "/manifests/" {
        with(response, "docker-content-digest", &digest)
    } else {
        response
    }
}

/// The content, or the part of it that is asked for.
fn content(record: &Request, bytes: Bytes, fault: Option<FaultKind>) -> Response<Body> {
    let bytes = match fault {
        Some(FaultKind::WrongBytes) => {
            let mut changed = bytes.to_vec();
            if let Some(last) = changed.last_mut() {
                *last ^= 1;
            }
            changed.into()
        }
        _ => bytes,
    };
    let total = bytes.len();
    let from = record
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, part, from) = match (from, &fault) {
        (None, _) | (_, Some(FaultKind::IgnoreRange)) => (200, bytes, 0),
        (Some(from), _) if from >= total => return plain(416, ""),
        (Some(from), _) => (206, bytes.slice(from..), from),
    };
    let length = part.len();
    let body = if record.method == "HEAD" {
        empty()
    } else {
        faulty(part, fault)
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let response = with(response, CONTENT_LENGTH.as_str(), &length.to_string());
    let response = with(response, ACCEPT_RANGES.as_str(), "bytes");
    if status == 206 {
        let range = format!("bytes {from}-{}/{total}", total.saturating_sub(1));
        return with(response, CONTENT_RANGE.as_str(), &range);
    }
    response
}

/// A body that sends `bytes` in the way that the fault wants.
fn faulty(bytes: Bytes, fault: Option<FaultKind>) -> Body {
    let cut = match &fault {
        Some(FaultKind::TruncateAt(at) | FaultKind::StallAt(at)) => (*at).min(bytes.len()),
        _ => bytes.len(),
    };
    let step = match &fault {
        Some(FaultKind::Slow(rate)) => (*rate / 10).max(1),
        _ => CHUNK_BYTES,
    };
    let slow = matches!(fault, Some(FaultKind::Slow(_)));
    let chunks: Vec<Bytes> = (0..cut)
        .step_by(step)
        .map(|at| bytes.slice(at..(at + step).min(cut)))
        .collect();
    let sent = stream::iter(chunks).then(move |chunk| async move {
        if slow {
            // A tenth of a second for a tenth of the rate.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Frame::data(chunk))
    });
    match fault {
        Some(FaultKind::TruncateAt(_)) => {
            let end = stream::once(async {
                // What was written before an error is only sent if the connection gets time to.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("told to break"))
            });
            StreamBody::new(sent.chain(end)).boxed_unsync()
        }
        Some(FaultKind::StallAt(_)) => StreamBody::new(sent.chain(stream::pending())).boxed_unsync(),
        _ => StreamBody::new(sent).boxed_unsync(),
    }
}

fn endless(bytes: u64) -> Response<Body> {
    let chunk = Bytes::from(vec![0; CHUNK_BYTES]);
    let count = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(CHUNK_BYTES);
    let chunks = stream::iter(std::iter::repeat_n(chunk, count).map(|chunk| Ok(Frame::data(chunk))));
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

fn plain(status: u16, text: &'static str) -> Response<Body> {
    respond(status, Bytes::from_static(text.as_bytes()))
}

fn respond(status: u16, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

fn with(mut response: Response<Body>, name: &str, value: &str) -> Response<Body> {
    if let (Ok(name), Ok(value)) = (hyper::header::HeaderName::from_bytes(name.as_bytes()), value.parse()) {
        response.headers_mut().insert(name, value);
    }
    response
}
