//! The in-process registry that scenarios and the demo pull from: the read half of the distribution API over plain HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::image::{Layout, digest};

/// Repository that the images are in.
const REPOSITORY: &str = "e2e";

/// Header in which a registry repeats a digest.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A registry on loopback that serves the images of a layout; it ends when dropped.
pub struct Registry {
    host: String,
    server: JoinHandle<()>,
}

/// What is served: path below `/v2/e2e/`, media type and content.
#[derive(Default)]
struct Content {
    paths: BTreeMap<String, (String, Bytes)>,
    /// The `Authorization` that is asked for.
    authorization: Option<String>,
}

impl Registry {
    /// Serves a layout to everybody.
    pub async fn serve(layout: &Layout) -> Result<Self> {
        Self::start(layout, None).await
    }

    /// Serves a layout to one user.
    pub async fn serve_to(layout: &Layout, user: &str, password: &str) -> Result<Self> {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self::start(layout, Some(format!("Basic {pair}"))).await
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Reference of one of the layout's images.
    pub fn image(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.host)
    }

    async fn start(layout: &Layout, authorization: Option<String>) -> Result<Self> {
        let mut content = Content {
            authorization,
            ..Content::default()
        };
        for tag in layout.tags() {
            let stored = layout.stored(tag)?;
            let manifest = Bytes::from(stored.manifest);
            for reference in [tag.to_owned(), digest(&manifest)] {
                content.paths.insert(
                    format!("manifests/{reference}"),
                    (stored.media_type.clone(), manifest.clone()),
                );
            }
            for blob in stored.blobs {
                let path = format!("blobs/{}", digest(&blob));
                content
                    .paths
                    .insert(path, ("application/octet-stream".into(), blob.into()));
            }
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let host = listener.local_addr()?.to_string();
        let server = tokio::spawn(accept(listener, Arc::new(content)));
        Ok(Self { host, server })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, content: Arc<Content>) {
    while let Ok((connection, _)) = listener.accept().await {
        let content = Arc::clone(&content);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = content.answer(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            // A client that goes away in the middle is what several scenarios are about.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service)
                .await;
        });
    }
}

impl Content {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        if self
            .authorization
            .as_deref()
            .is_some_and(|wanted| given != Some(wanted.as_bytes()))
        {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"e2e\""));
            return failed(response, StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        let Some(path) = request.uri().path().strip_prefix("/v2/") else {
            return failed(response, StatusCode::NOT_FOUND, "UNSUPPORTED");
        };
        if path.is_empty() {
            return response;
        }
        let stored = path
            .strip_prefix(REPOSITORY)
            .and_then(|rest| self.paths.get(rest.trim_start_matches('/')));
        let Some((media_type, bytes)) = stored else {
            return failed(response, StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
        };
        let (mut status, mut part, mut extra) = (StatusCode::OK, bytes.clone(), (DIGEST, digest(bytes)));
        if let Some(first) = first_byte(request).filter(|first| *first < bytes.len()) {
            status = StatusCode::PARTIAL_CONTENT;
            part = bytes.slice(first..);
            extra = (
                CONTENT_RANGE,
                format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len()),
            );
        }
        *response.status_mut() = status;
        for (name, value) in [(CONTENT_TYPE, media_type.clone()), extra] {
            response
                .headers_mut()
                .extend(value.parse().ok().map(|value| (name, value)));
        }
        if request.method() == Method::HEAD {
            response.headers_mut().insert(CONTENT_LENGTH, part.len().into());
        } else {
            *response.body_mut() = Full::new(part);
        }
        response
    }
}

/// The first byte of a range that goes to the end.
fn first_byte(request: &Request<Incoming>) -> Option<usize> {
    let range = request.headers().get(RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn failed(mut response: Response<Full<Bytes>>, status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    *response.status_mut() = status;
    let body = serde_json::json!({ "errors": [{ "code": code, "message": "as the scenario wants" }] });
    *response.body_mut() = Full::new(body.to_string().into());
    response
}
