//! The control loop over one kind of object.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use imagecache_k8s_api::ImageCacheDialect;
use kube::runtime::controller::{self, Action};
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::context::{Context, PassError, Shared};
use super::health::Health;
use super::memo::Memos;
use super::names::FINALIZER;
use super::{policy, reconcile};

/// Passes that run at once for one kind: enough to hide the latency of the API server and of a cloud, few enough to stay
/// under the rate limits of both.
const CONCURRENCY: u16 = 16;
/// Between two looks for a resource definition that is not installed.
const DEFINITION_INTERVAL: Duration = Duration::from_secs(5);
/// After a write that the API server refused.
const API_RETRY: Duration = Duration::from_secs(3);
/// A copy of the whole object that `kubectl apply` keeps.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// While the provider has not answered.
const PROVIDER_RETRY: Duration = Duration::from_secs(2);
/// After a removal that failed for a reason that waiting does not mend.
const CLEANUP_RETRY: Duration = Duration::from_secs(60);

type FinalizerError = finalizer::Error<PassError>;

/// Reconciles all objects of kind `K` until `stop` is cancelled.
pub(super) async fn run<K: ImageCacheDialect>(shared: &Arc<Shared>, health: &Health, stop: &CancellationToken) {
    tokio::select! {
        () = definition::<K>(&shared.client) => {}
        () = stop.cancelled() => return,
    }
    health.watching();
    info!(dialect = K::DIALECT, "watching");
    let (wake, mut woken) = unbounded_channel();
    let context = Arc::new(Context::<K> {
        shared: Arc::clone(shared),
        memos: Memos::default(),
        wake,
    });
    let woken = futures::stream::poll_fn(move |task| woken.poll_recv(task)).map(|name| ObjectRef::new(&name));
    let writer = store::Writer::<K>::default();
    let reader = writer.as_reader();
    let changes = watcher(Api::<K>::all(shared.client.clone()), watcher::Config::default())
        .modify(slim)
        .reflect(writer)
        .applied_objects();
    Controller::for_stream(changes, reader)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_on(woken)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(pass::<K>, again::<K>, context)
        .for_each(|result| {
            log::<K>(shared, &result);
            std::future::ready(())
        })
        .await;
}

/// Takes away what no pass reads, before it is kept: of thousands of objects it is the larger part.
fn slim<K: ImageCacheDialect>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Waits until the API server knows the kind.
async fn definition<K: ImageCacheDialect>(client: &Client) {
    let (group, plural) = (K::group(&()), K::plural(&()));
    let mut told = false;
    loop {
        let missing = match client.list_api_group_resources(&K::api_version(&())).await {
            Ok(served) => !served.resources.iter().any(|resource| resource.name == plural),
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the API server does not answer, trying again"
                    );
                }
                tokio::time::sleep(DEFINITION_INTERVAL).await;
                continue;
            }
        };
        if !missing {
            return;
        }
        if !std::mem::replace(&mut told, true) {
            warn!(
                "the resource {plural}.{group} is not installed, waiting for it; run: imagecache crd | kubectl apply -f -"
            );
        }
        tokio::time::sleep(DEFINITION_INTERVAL).await;
    }
}

async fn pass<K: ImageCacheDialect>(object: Arc<K>, context: Arc<Context<K>>) -> Result<Action, FinalizerError> {
    let span = info_span!(
        "reconcile",
        dialect = K::DIALECT,
        name = object.name_any(),
        generation = object.meta().generation,
        provider = context.shared.provider.name(),
    );
    let api: Api<K> = Api::all(context.shared.client.clone());
    let reconcile = |event: Event<K>| async {
        match event {
            Event::Apply(object) => reconcile::apply(&context, object.as_ref()).await,
            Event::Cleanup(object) => reconcile::cleanup(&context, object.as_ref()).await,
        }
    };
    finalizer(&api, FINALIZER, object, reconcile).instrument(span).await
}

/// When a pass that failed is repeated.
fn again<K: ImageCacheDialect>(_: Arc<K>, error: &FinalizerError, _: Arc<Context<K>>) -> Action {
    Action::requeue(match error {
        FinalizerError::ApplyFailed(PassError::Waiting) | FinalizerError::CleanupFailed(PassError::Waiting) => {
            PROVIDER_RETRY
        }
        FinalizerError::CleanupFailed(PassError::Cleanup(failure)) => {
            policy::delay(failure.kind, 0, None).unwrap_or(CLEANUP_RETRY)
        }
        _ => API_RETRY,
    })
}

type PassResult<K> = Result<(ObjectRef<K>, Action), controller::Error<FinalizerError, watcher::Error>>;

fn log<K: ImageCacheDialect>(shared: &Shared, result: &PassResult<K>) {
    match result {
        Ok((object, _)) => {
            shared.metrics.reconciled(K::DIALECT);
            debug!(name = object.name, "reconciled");
        }
        Err(controller::Error::ObjectNotFound(object)) => debug!(name = object.name, "the object is gone"),
        Err(controller::Error::ReconcilerFailed(error, object)) => {
            shared.metrics.reconcile_failed(K::DIALECT);
            if is_expected(error) {
                debug!(name = object.name, %error, "a pass has to be repeated");
            } else {
                error!(
                    name = object.name,
                    error = error as &dyn std::error::Error,
                    "a pass failed and is repeated"
                );
            }
        }
        Err(error) => warn!(
            dialect = K::DIALECT,
            error = error as &dyn std::error::Error,
            "the watch was interrupted"
        ),
    }
}

/// Whether the error is part of normal life: it was told already, or somebody else was faster.
fn is_expected(error: &FinalizerError) -> bool {
    match error {
        FinalizerError::ApplyFailed(PassError::Waiting)
        | FinalizerError::CleanupFailed(PassError::Waiting | PassError::Cleanup(_)) => true,
        FinalizerError::AddFinalizer(kube::Error::Api(status))
        | FinalizerError::RemoveFinalizer(kube::Error::Api(status)) => matches!(status.code, 404 | 409 | 422),
        _ => false,
    }
}
