//! What the snapshotter has to do with a cluster, where there is one: it looks at once when a cache becomes Ready, and tells what
//! this node holds in an annotation of its Node object.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use imagecache_core::chain;
use imagecache_k8s_api::{alibaba, tencent};
use imagecache_node::{NodeReport, Snapshotter};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The annotation.
pub(super) const ANNOTATION: &str = "imagecache.dev/node-status";
/// Owner of the annotation, and of nothing else.
const FIELD_MANAGER: &str = "imagecache-node";
/// Between two looks whether the report changed, and so between two writes: everyone who watches nodes hears of each.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Time for the first look at the stores, so that a restart does not tell of an empty node.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Where the two kinds have their phase, and what it is for a cache that can be used.
const ALIBABA_PHASE: &str = "/status/phase";
const TENCENT_PHASE: &str = "/status/imcPhase";
const READY: &str = "Ready";

/// Wakes `wake` whenever an ImageCache of either kind is seen Ready, until it is dropped.
pub(super) async fn watch_caches(client: &Client, wake: &Notify) {
    tokio::join!(
        watch_kind(
            client,
            ApiResource::erase::<alibaba::ImageCache>(&()),
            ALIBABA_PHASE,
            wake
        ),
        watch_kind(
            client,
            ApiResource::erase::<tencent::ImageCache>(&()),
            TENCENT_PHASE,
            wake
        ),
    );
}

async fn watch_kind(client: &Client, resource: ApiResource, phase: &str, wake: &Notify) {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut objects = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    let mut complained = false;
    loop {
        match objects.try_next().await {
            Ok(Some(object)) => {
                complained = false;
                if object.data.pointer(phase).is_some_and(|phase| phase == READY) {
                    wake.notify_one();
                }
            }
            Ok(None) => return,
            // The stores are looked at all the same.
            Err(error) if !complained => {
                complained = true;
                tracing::info!(api = resource.api_version, error = %chain(&error), "caches of this kind are not watched");
            }
            Err(_) => {}
        }
    }
}

/// Tells what the snapshotter holds whenever that changed, until it is dropped.
pub(super) async fn report(client: &Client, node: &str, snapshotter: &Arc<Snapshotter>) {
    let api: Api<Node> = Api::all(client.clone());
    let mut told: Option<String> = None;
    let mut complaint: Option<String> = None;
    let mut ticks = tokio::time::interval_at(Instant::now() + FIRST_LOOK, REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshotter = Arc::clone(snapshotter);
        let Ok(report) = tokio::task::spawn_blocking(move || NodeReport::of(&snapshotter)).await else {
            continue;
        };
        let Ok(text) = serde_json::to_string(&report) else {
            continue;
        };
        if told.as_ref() == Some(&text) {
            continue;
        }
        match annotate(&api, node, &text).await {
            Ok(()) => {
                (told, complaint) = (Some(text), None);
            }
            Err(error) => {
                let error = chain(&error);
                if complaint.as_ref() != Some(&error) {
                    tracing::warn!(node, error, "what this node holds cannot be told to the cluster");
                    complaint = Some(error);
                }
            }
        }
    }
}

async fn annotate(api: &Api<Node>, node: &str, text: &str) -> Result<(), kube::Error> {
    // With its UID: an apply makes what does not exist, and a node that is gone must stay so.
    let uid = api.get_metadata(node).await?.metadata.uid;
    let patch = json!({
        "apiVersion": Node::api_version(&()), "kind": Node::kind(&()),
        "metadata": { "name": node, "uid": uid, "annotations": { ANNOTATION: text } },
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_metadata(node, &params, &Patch::Apply(patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use imagecache_apiserver::{ApiServer, Data, Options};
    use kube::api::PostParams;
    use kube::client::Body;
    use kube::config::{KubeConfigOptions, Kubeconfig};
    use serde_json::Value;

    use super::*;

    /// Longer than anything takes, also on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_cache_that_becomes_ready_wakes_at_once() {
        let server = ApiServer::open(Options {
            data: Data::Memory,
            token: None,
            crds: imagecache_k8s_api::crds(),
        })
        .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = server.kubeconfig(listener.local_addr().unwrap());
        tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        let client = Client::try_from(config).unwrap();
        let wake = Arc::new(Notify::new());
        tokio::spawn({
            let (client, wake) = (client.clone(), Arc::clone(&wake));
            async move { watch_caches(&client, &wake).await }
        });
        for (resource, ready) in [
            (
                ApiResource::erase::<alibaba::ImageCache>(&()),
                json!({ "phase": READY }),
            ),
            (
                ApiResource::erase::<tencent::ImageCache>(&()),
                json!({ "imcPhase": READY }),
            ),
        ] {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let object = DynamicObject::new("one", &resource).data(json!({ "spec": { "images": ["nginx:1"] } }));
            api.create(&PostParams::default(), &object).await.unwrap();
            let not_yet = tokio::time::timeout(Duration::from_millis(300), wake.notified()).await;
            assert!(not_yet.is_err(), "{}: nothing is ready", resource.api_version);
            let ready = json!({ "status": ready });
            api.patch_status("one", &PatchParams::default(), &Patch::Merge(ready))
                .await
                .unwrap();
            let woken = tokio::time::timeout(PATIENCE, wake.notified()).await;
            assert!(woken.is_ok(), "{}", resource.api_version);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_told_once_what_it_holds_and_never_made() {
        let root = tempfile::tempdir().unwrap();
        let snapshotter = Arc::new(Snapshotter::open(root.path()).unwrap());
        let calls: Arc<Mutex<Vec<(Method, String, Value)>>> = Arc::default();
        let service = tower::service_fn({
            let calls = Arc::clone(&calls);
            move |request: Request<Body>| {
                let calls = Arc::clone(&calls);
                async move {
                    let (parts, body) = request.into_parts();
                    let bytes = body.collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&bytes).unwrap_or_default();
                    calls.lock().unwrap().push((parts.method, parts.uri.to_string(), body));
                    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1", "uid": "u1" } });
                    Ok::<_, Infallible>(Response::new(Body::from(node.to_string().into_bytes())))
                }
            }
        });
        let client = Client::new(service, "default");
        let reporting = report(&client, "n1", &snapshotter);
        let _over = tokio::time::timeout(REPORT_INTERVAL * 5, reporting).await;
        let calls = calls.lock().unwrap();
        assert_eq!(calls.len(), 2, "nothing changed: {calls:?}");
        let (method, uri, _) = &calls[0];
        assert_eq!((method, uri.as_str()), (&Method::GET, "/api/v1/nodes/n1"));
        let (method, uri, body) = &calls[1];
        assert_eq!(*method, Method::PATCH);
        assert!(
            uri.starts_with("/api/v1/nodes/n1?") && uri.contains("fieldManager=imagecache-node"),
            "{uri}"
        );
        assert_eq!(body["metadata"]["uid"], "u1");
        let report: Value =
            serde_json::from_str(body["metadata"]["annotations"][ANNOTATION].as_str().unwrap()).unwrap();
        assert_eq!(report["imageCount"], 0, "{report}");
    }
}
