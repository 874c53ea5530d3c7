//! The snapshots service on a Unix socket: gRPC to calls of the [`Snapshotter`], each on a thread that may block.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, Iter};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::UnixListener;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::error::{Error, Result};
use crate::metrics::PrepareOutcome;
use crate::snapshot::REFERENCE_LABEL;
use crate::snapshotter::Snapshotter;
use crate::wire;

/// Snapshots in one piece of a list: far below the 4 MiB that a gRPC message may have.
const LIST_PIECE: usize = 100;

/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on a socket that only root can reach. One that a killed process left is replaced.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(socket: &Path) -> Result<UnixListener> {
    let failed = |operation, error| Error::io(operation, socket, error);
    if let Some(parent) = socket.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed("make a directory for", error))?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("replace", error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(|error| failed("listen on", error))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(socket, mode).map_err(|error| failed("protect", error))?;
    Ok(listener)
}

/// Serves until `shutdown`, and then finishes the calls under way.
pub async fn serve(snapshotter: Arc<Snapshotter>, listener: UnixListener, shutdown: impl Future<Output = ()>) {
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let connections = TaskTracker::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                    // Such as no free descriptor: asking at once would only burn a processor.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        let snapshotter = Arc::clone(&snapshotter);
        let service = hyper::service::service_fn(move |request| {
            let snapshotter = Arc::clone(&snapshotter);
            async move { Ok::<_, Infallible>(dispatch(snapshotter, request).await) }
        });
        let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    connections.close();
    graceful.shutdown().await;
    connections.wait().await;
}

async fn dispatch(
    snapshotter: Arc<Snapshotter>,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<Body> {
    let begin = Instant::now();
    let path = request.uri().path().to_owned();
    let answer = route(Arc::clone(&snapshotter), request).await;
    let method = path.strip_prefix(wire::SERVICE).unwrap_or_default();
    snapshotter.metrics().called(method, begin.elapsed());
    answer
}

async fn route(snapshotter: Arc<Snapshotter>, request: http::Request<hyper::body::Incoming>) -> http::Response<Body> {
    let method = request
        .uri()
        .path()
        .strip_prefix(wire::SERVICE)
        .unwrap_or_default()
        .to_owned();
    match method.as_str() {
        "Prepare" => {
            unary(snapshotter, request, |snapshotter, call: wire::CreateRequest| {
                let is_layer = call.labels.contains_key(REFERENCE_LABEL);
                let labels = call.labels.into_iter().collect();
                let prepared = snapshotter.prepare(&call.key, optional(&call.parent), labels);
                if is_layer {
                    snapshotter.metrics().prepared(match &prepared {
                        Ok(_) => PrepareOutcome::Pulled,
                        Err(Error::AlreadyExists(_)) => PrepareOutcome::Cached,
                        Err(_) => PrepareOutcome::Refused,
                    });
                }
                Ok(wire::MountsResponse { mounts: prepared? })
            })
            .await
        }
        "View" => {
            unary(snapshotter, request, |snapshotter, call: wire::CreateRequest| {
                let labels = call.labels.into_iter().collect();
                let mounts = snapshotter.view(&call.key, optional(&call.parent), labels)?;
                Ok(wire::MountsResponse { mounts })
            })
            .await
        }
        "Mounts" => {
            unary(snapshotter, request, |snapshotter, call: wire::KeyRequest| {
                Ok(wire::MountsResponse {
                    mounts: snapshotter.mounts(&call.key)?,
                })
            })
            .await
        }
        "Commit" => {
            unary(snapshotter, request, |snapshotter, call: wire::CommitRequest| {
                let labels = call.labels.into_iter().collect();
                snapshotter.commit(&call.name, &call.key, optional(&call.parent), labels)?;
                Ok(wire::Empty {})
            })
            .await
        }
        "Remove" => {
            unary(snapshotter, request, |snapshotter, call: wire::KeyRequest| {
                snapshotter.remove(&call.key)?;
                let rest = Arc::clone(snapshotter);
                // containerd waits for the answer, nobody for the files.
                tokio::task::spawn_blocking(move || rest.empty_trash());
                Ok(wire::Empty {})
            })
            .await
        }
        "Stat" => {
            unary(snapshotter, request, |snapshotter, call: wire::KeyRequest| {
                Ok(wire::InfoResponse {
                    info: Some(snapshotter.stat(&call.key)?),
                })
            })
            .await
        }
        "Update" => {
            unary(snapshotter, request, |snapshotter, call: wire::UpdateRequest| {
                let info = call.info.unwrap_or_default();
                let fields = call.update_mask.unwrap_or_default().paths;
                let labels = info.labels.into_iter().collect();
                Ok(wire::InfoResponse {
                    info: Some(snapshotter.update(&info.name, &labels, &fields)?),
                })
            })
            .await
        }
        "List" => list(snapshotter, request).await,
        "Usage" => {
            unary(snapshotter, request, |snapshotter, call: wire::KeyRequest| {
                let usage = snapshotter.usage(&call.key)?;
                let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                Ok(wire::UsageResponse {
                    size: number(usage.bytes),
                    inodes: number(usage.inodes),
                })
            })
            .await
        }
        "Cleanup" => {
            unary(snapshotter, request, |snapshotter, _call: wire::CleanupRequest| {
                snapshotter.cleanup()?;
                Ok(wire::Empty {})
            })
            .await
        }
        _ => Status::unimplemented(format!("there is no method `{}`", request.uri().path())).into_http(),
    }
}

/// Answers one message with one message.
async fn unary<Call, Answer>(
    snapshotter: Arc<Snapshotter>,
    request: http::Request<hyper::body::Incoming>,
    handler: fn(&Arc<Snapshotter>, Call) -> Result<Answer>,
) -> http::Response<Body>
where
    Call: prost::Message + Default + 'static,
    Answer: prost::Message + Default + 'static,
{
    let service = service_fn(move |call: Request<Call>| {
        let snapshotter = Arc::clone(&snapshotter);
        async move {
            let answer = blocking(move || handler(&snapshotter, call.into_inner())).await?;
            Ok::<_, Status>(Response::new(answer))
        }
    });
    Grpc::new(ProstCodec::default()).unary(service, request).await
}

async fn list(snapshotter: Arc<Snapshotter>, request: http::Request<hyper::body::Incoming>) -> http::Response<Body> {
    type Pieces = Iter<std::vec::IntoIter<std::result::Result<wire::ListResponse, Status>>>;
    let service = service_fn(move |call: Request<wire::ListRequest>| {
        let snapshotter = Arc::clone(&snapshotter);
        async move {
            let all = blocking(move || snapshotter.list(&call.into_inner().filters)).await?;
            let pieces: Vec<_> = all
                .chunks(LIST_PIECE)
                .map(|piece| Ok(wire::ListResponse { info: piece.to_vec() }))
                .collect();
            Ok::<Response<Pieces>, Status>(Response::new(stream::iter(pieces)))
        }
    });
    Grpc::new(ProstCodec::default())
        .server_streaming(service, request)
        .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Status::internal("the call died; the log says why")),
    }
}

/// Protocol buffers cannot tell an empty text from none.
fn optional(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
