//! Connections: who may connect, reading requests, ending on shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::call::{BODY_BYTES, Call};
use crate::negotiate::{Body, error};
use crate::object::same_bytes;
use crate::registry::{CRDS, Registry};
use crate::status::ApiError;
use crate::store::Store;
use crate::{ServeError, Token, routes};

/// How long open requests may take to end after the shutdown signal.
const DRAIN: Duration = Duration::from_secs(2);
/// Wait after a failed accept: it fails for lack of file descriptors, which come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: Store,
    token: Option<Token>,
    /// The registry and the revision of the definitions it was made from.
    registry: RwLock<(u64, Arc<Registry>)>,
    stopping: watch::Sender<bool>,
}

impl Server {
    pub(crate) fn new(store: Store, token: Option<Token>) -> Self {
        let registry = Arc::new(Registry::load(&store));
        let (stopping, _) = watch::channel(false);
        Self {
            registry: RwLock::new((store.revision_of(CRDS), registry)),
            store,
            token,
            stopping,
        }
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The resources as the stored definitions say now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        let now = self.store.revision_of(CRDS);
        let held = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        if held.0 == now {
            return Arc::clone(&held.1);
        }
        drop(held);
        let fresh = Arc::new(Registry::load(&self.store));
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = (now, Arc::clone(&fresh));
        fresh
    }

    /// Turns true when the server stops: watches end then.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

pub(crate) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let addr = listener.local_addr().map_err(|source| ServeError::Accept { source })?;
    if server.token.is_none() && !addr.ip().is_loopback() {
        return Err(ServeError::NotLoopback { addr });
    }
    server.stopping.send_replace(false);
    let mut connections = JoinSet::new();
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!(error = &e as &dyn std::error::Error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        // Watch events are small and must not wait for more.
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        let mut stopping = server.stopping();
        let service = service_fn(move |request| answer(Arc::clone(&server), request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let told = async move {
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = told => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "connection ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    server.stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    Ok(())
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    if !is_allowed(&server, &parts.headers) {
        return Ok(error(&ApiError::unauthorized()));
    }
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(e) => return Ok(error(&e)),
    };
    let call = Call::new(parts, body);
    Ok(routes::dispatch(server, call).await.unwrap_or_else(|e| error(&e)))
}

fn is_allowed(server: &Server, headers: &http::HeaderMap) -> bool {
    let Some(token) = &server.token else { return true };
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let sent = sent.strip_prefix("Bearer ").unwrap_or("").trim();
    same_bytes(sent.as_bytes(), token.expose().as_bytes())
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    match Limited::new(body, BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(ApiError::too_large(BODY_BYTES)),
        Err(e) => Err(ApiError::bad_request(format!("cannot read the request body: {e}"))),
    }
}

pub(crate) fn kubeconfig(addr: SocketAddr, token: Option<&Token>) -> String {
    let token = token.map(|t| serde_json::Value::from(t.expose()));
    let user = token.map_or_else(|| "{}".to_owned(), |t| format!("{{\"token\": {t}}}"));
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters:\n- name: standalone\n  cluster: {{server: \"http://{addr}\"}}\n\
         users:\n- name: standalone\n  user: {user}\n\
         contexts:\n- name: standalone\n  context: {{cluster: standalone, user: standalone}}\n\
         current-context: standalone\n"
    )
}
