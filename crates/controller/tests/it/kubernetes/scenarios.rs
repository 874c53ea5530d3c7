//! What users do, in both dialects, on our own API server and on a real one.

use imagecache_conformance::MemoryProvider;
use imagecache_core::{CacheProvider as _, CacheSpec, CacheState};
use imagecache_k8s_api::{ImageCacheDialect, alibaba, crds, tencent};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::cluster::{self, Running, until};

fn object<K: ImageCacheDialect>(name: &str, spec: Value) -> K {
    let value = json!({
        "apiVersion": K::api_version(&()), "kind": "ImageCache", "metadata": { "name": name }, "spec": spec,
    });
    serde_json::from_value(value).unwrap()
}

/// Waits until the object says it is in `phase` for its present spec.
async fn wait_phase<K: ImageCacheDialect>(api: &Api<K>, name: &str, phase: &str) -> K {
    until(&format!("{name} to be {phase}"), || async {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let status = object.status().ok_or("no status")?;
        let current = K::common(status).observed_generation == object.meta().generation;
        if current && K::phase(status) == phase {
            Ok(object)
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await
}

async fn wait_gone<K: ImageCacheDialect>(api: &Api<K>, name: &str) {
    until(&format!("{name} to be gone"), || async {
        match api.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn id<K: ImageCacheDialect>(object: &K) -> String {
    object
        .status()
        .map(|status| K::id(status).to_owned())
        .unwrap_or_default()
}

/// An image that only the object `name` has: a cluster may hold other objects, which get caches of their own.
fn image(name: &str, tag: &str) -> String {
    format!("registry.example.com/{name}:{tag}")
}

/// The caches with such an image.
async fn caches(provider: &MemoryProvider, name: &str) -> Vec<CacheState> {
    let mut caches = provider.list().await.unwrap();
    caches.retain(|cache| cache.images.iter().any(|image| image.to_string().contains(name)));
    caches
}

/// Waits until `wanted` builds of images of the object `name` were started.
async fn wait_builds(provider: &MemoryProvider, name: &str, wanted: usize) {
    let of_name = |spec: &CacheSpec| spec.images.iter().any(|image| image.to_string().contains(name));
    until(&format!("{wanted} builds for {name}"), || async {
        let specs = provider.specs();
        let started = specs.iter().filter(|spec| of_name(spec)).count();
        (started == wanted)
            .then_some(())
            .ok_or_else(|| format!("{started} of them, {} in all", specs.len()))
    })
    .await;
}

/// From creation over a changed spec to deletion.
async fn life<K: ImageCacheDialect>(client: &Client, name: &str) {
    let provider = MemoryProvider::default();
    let api: Api<K> = Api::all(client.clone());
    let controller = Running::start(client, &provider);
    api.create(
        &PostParams::default(),
        &object(name, json!({ "images": [image(name, "1")] })),
    )
    .await
    .unwrap();
    let pending = wait_phase(&api, name, "Pending").await;
    assert!(
        !pending.finalizers().is_empty(),
        "an object without a finalizer would leave its cache behind"
    );
    wait_builds(&provider, name, 1).await;
    provider.finish_builds();
    let ready = wait_phase(&api, name, "Ready").await;
    assert_eq!(id(&ready), caches(&provider, name).await[0].id.as_str());

    let edit = json!({ "spec": { "images": [image(name, "2")] } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    let updating = wait_phase(&api, name, "Updating").await;
    assert_eq!(id(&updating), id(&ready), "the old cache serves");
    wait_builds(&provider, name, 2).await;
    provider.finish_builds();
    let updated = wait_phase(&api, name, "Ready").await;
    assert_ne!(id(&updated), id(&ready));
    until("the old cache to go", || async {
        let caches = caches(&provider, name).await;
        if caches.len() == 1 {
            Ok(())
        } else {
            Err(format!("{caches:?}"))
        }
    })
    .await;

    api.delete(name, &DeleteParams::default()).await.unwrap();
    wait_gone(&api, name).await;
    assert!(caches(&provider, name).await.is_empty());
    controller.stop().await;
}

/// Objects that were deleted, and caches that were finished, while no controller ran.
async fn absence<K: ImageCacheDialect>(client: &Client, name: &str) {
    let provider = MemoryProvider::default();
    let api: Api<K> = Api::all(client.clone());
    let (kept, deleted) = (format!("{name}-kept"), format!("{name}-deleted"));
    let controller = Running::start(client, &provider);
    for each in [&kept, &deleted] {
        api.create(
            &PostParams::default(),
            &object(each, json!({ "images": [image(name, "1")] })),
        )
        .await
        .unwrap();
    }
    wait_builds(&provider, name, 2).await;
    controller.stop().await;
    provider.finish_builds();
    api.delete(&deleted, &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt(&deleted).await.unwrap().is_some(), "the finalizer keeps it");

    let controller = Running::start(client, &provider);
    wait_gone(&api, &deleted).await;
    wait_phase(&api, &kept, "Ready").await;
    assert_eq!(caches(&provider, name).await.len(), 1);
    wait_builds(&provider, name, 2).await;
    api.delete(&kept, &DeleteParams::default()).await.unwrap();
    wait_gone(&api, &kept).await;
    controller.stop().await;
}

/// A mistake that only the controller can see: in the status and in an event.
async fn mistake<K: ImageCacheDialect>(client: &Client, name: &str) {
    let api: Api<K> = Api::all(client.clone());
    let controller = Running::start(client, &MemoryProvider::default());
    let spec = json!({ "images": ["Not An Image!"] });
    let uid = api
        .create(&PostParams::default(), &object(name, spec))
        .await
        .unwrap()
        .uid();
    let failed = wait_phase(&api, name, "Failed").await;
    let message = K::common(failed.status().unwrap()).message.clone();
    assert!(message.contains("Not An Image!"), "{message}");
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    until("an event", || async {
        let all = events.list(&ListParams::default()).await.unwrap();
        let about = |event: &&Event| event.regarding.as_ref().is_some_and(|object| object.uid == uid);
        let found: Vec<_> = all.items.iter().filter(about).collect();
        match &found[..] {
            [event] => {
                assert_eq!(event.type_.as_deref(), Some("Warning"));
                assert_eq!(event.note.as_deref(), Some(message.as_str()));
                Ok(())
            }
            other => Err(format!("{} events", other.len())),
        }
    })
    .await;
    api.delete(name, &DeleteParams::default()).await.unwrap();
    wait_gone(&api, name).await;
    controller.stop().await;
}

/// What the schema refuses never reaches the controller.
async fn ranges<K: ImageCacheDialect>(client: &Client, name: &str, specs: &[Value]) {
    let api: Api<K> = Api::all(client.clone());
    for spec in specs {
        let refused = api.create(&PostParams::default(), &object(name, spec.clone())).await;
        match refused {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, 422, "{spec}: {status:?}"),
            other => panic!("{spec} was not refused: {other:?}"),
        }
    }
}

async fn all(client: Client, suffix: &str) {
    let name = |what: &str| format!("it-{what}-{suffix}");
    life::<alibaba::ImageCache>(&client, &name("life")).await;
    life::<tencent::ImageCache>(&client, &name("life")).await;
    absence::<alibaba::ImageCache>(&client, &name("absence")).await;
    absence::<tencent::ImageCache>(&client, &name("absence")).await;
    mistake::<alibaba::ImageCache>(&client, &name("mistake")).await;
    mistake::<tencent::ImageCache>(&client, &name("mistake")).await;
    let images = |field: &str, value: i64| {
        let mut spec = json!({ "images": ["nginx"] });
        spec[field] = json!(value);
        spec
    };
    let none = json!({ "images": [] });
    let size = "imageCacheSize";
    let days = "retentionDays";
    ranges::<alibaba::ImageCache>(
        &client,
        &name("range"),
        &[
            none.clone(),
            images(size, 19),
            images(size, 32769),
            images(days, 0),
            images(days, 65537),
        ],
    )
    .await;
    ranges::<tencent::ImageCache>(
        &client,
        &name("range"),
        &[none, images(size, 19), images(days, -1), images(days, 3651)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_our_own_api_server() {
    all(cluster::in_process(crds()).await, "own").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: IMAGECACHE_TEST_KUBECONFIG names its kubeconfig"]
async fn on_a_real_cluster() {
    let suffix = format!("{:x}", std::process::id());
    all(cluster::real().await, &suffix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_resource_installed() {
    let client = cluster::in_process(vec![crds().remove(1)]).await;
    life::<tencent::ImageCache>(&client, "alone").await;
}
