//! What pods are told, and the caches that are made for them.

use std::sync::Arc;

use futures::StreamExt as _;
use imagecache_conformance::MemoryProvider;
use imagecache_controller::kubernetes::Settings;
use imagecache_controller::pods::PodsConfig;
use imagecache_k8s_api::{alibaba, crds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::cluster::{Running, in_process, until};

const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const NAMESPACE: &str = "default";
/// Pods of one new image that are created at once.
const PODS: usize = 500;
/// Requests of the test itself that are under way at once.
const AT_ONCE: usize = 16;

async fn create_pod(client: &Client, name: &str, annotations: Value) {
    create_pod_in(client, NAMESPACE, name, annotations).await;
}

async fn create_pod_in(client: &Client, namespace: &str, name: &str, annotations: Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "containers": [{ "name": "a", "image": "team/app:1" }],
            "imagePullSecrets": [{ "name": "login" }, { "name": "missing" }],
        },
    });
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = serde_json::from_value(pod).unwrap();
    api.create(&PostParams::default(), &pod).await.unwrap();
}

async fn create_secret(client: &Client) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": "login" }, "stringData": { ".dockerconfigjson": r#"{"auths":{}}"# },
    });
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = serde_json::from_value(secret).unwrap();
    api.create(&PostParams::default(), &secret).await.unwrap();
}

/// Pods and reasons of all events on pods, sorted.
async fn events(client: &Client) -> Vec<(String, String)> {
    let api: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let all = api.list(&ListParams::default()).await.unwrap().items;
    let on_pods = all
        .into_iter()
        .filter(|event| event.involved_object.kind.as_deref() == Some("Pod"));
    let mut found: Vec<_> = on_pods
        .map(|event| {
            assert_eq!(event.count, Some(1));
            (
                event.involved_object.name.unwrap_or_default(),
                event.reason.unwrap_or_default(),
            )
        })
        .collect();
    found.sort();
    found
}

async fn wait_event(client: &Client, pod: &str, reason: &str) {
    until(&format!("{reason} on {pod}"), || async {
        let events = events(client).await;
        let there = events.iter().any(|event| *event == (pod.to_owned(), reason.to_owned()));
        there.then_some(()).ok_or(format!("{} events", events.len()))
    })
    .await;
}

async fn caches(client: &Client) -> Vec<alibaba::ImageCache> {
    let api: Api<alibaba::ImageCache> = Api::all(client.clone());
    let params = ListParams::default().labels("imagecache.dev/automatic=true");
    api.list(&params).await.unwrap().items
}

fn settings() -> Settings {
    Settings {
        pods: PodsConfig::default().settings(None),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_of_one_new_image_get_one_cache() {
    let client = in_process(crds()).await;
    let provider = MemoryProvider::default();
    create_secret(&client).await;
    let running = Running::with(&client, &provider, settings());
    futures::stream::iter(0..PODS)
        .for_each_concurrent(AT_ONCE, |n| {
            let client = &client;
            async move { create_pod(client, &format!("web-{n}"), json!({ AUTO: "true" })).await }
        })
        .await;
    until("an event on each pod", || async {
        let events = events(&client).await;
        let of = |wanted: &str| events.iter().filter(|(_, reason)| reason == wanted).count();
        let found = (of("ImageCacheMissed"), of("ImageCacheAutoCreated"), events.len());
        if found == (PODS, 1, PODS + 1) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    let made = caches(&client).await;
    let [cache] = made.as_slice() else {
        panic!("{} caches", made.len());
    };
    assert!(cache.name_any().starts_with("auto-create-for-"));
    assert_eq!(cache.spec.images, ["team/app:1"]);
    assert_eq!(cache.spec.image_cache_size, Some(30));
    assert_eq!(
        cache.spec.image_pull_secrets,
        Some(vec!["default:login".to_owned()]),
        "a secret that does not exist would stop the cache"
    );
    until("the build to start", || async {
        let started = provider.builds_started();
        (started == 1).then_some(()).ok_or(format!("{started} builds"))
    })
    .await;
    running.stop().await;
    assert_eq!(provider.builds_started(), 1);
}

#[tokio::test]
async fn a_hit_is_told_once_and_remembered_and_what_nobody_uses_goes() {
    let client = in_process(crds()).await;
    let provider = MemoryProvider::default();
    let running = Running::with(&client, &provider, settings());
    create_pod(&client, "first", json!({ AUTO: "true" })).await;
    wait_event(&client, "first", "ImageCacheAutoCreated").await;
    let id = until("the automatic cache to be ready", || async {
        provider.finish_builds();
        let status = caches(&client).await.into_iter().next().and_then(|cache| cache.status);
        let ready = status.filter(|status| status.phase == "Ready");
        ready
            .map(|status| status.image_cache_id)
            .ok_or_else(|| "not yet".to_owned())
    })
    .await;

    let bound = json!({ AUTO: "true", "imagecache.dev/cache-id": id });
    create_pod(&client, "second", bound).await;
    wait_event(&client, "second", "SuccessfulHitImageCache").await;
    until("the last use in the status", || async {
        let status = caches(&client).await.remove(0).status.unwrap();
        let matched = status
            .common
            .last_matched_time
            .and_then(|time| time.parse::<Timestamp>().ok());
        matched.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    running.stop().await;

    let before = events(&client).await;
    // A restarted controller looks at all young pods again, and the cache of the second is gone by then.
    let empty = MemoryProvider::default();
    let running = Running::with(&client, &empty, settings());
    create_pod(&client, "third", json!({ AUTO: "false" })).await;
    create_pod(&client, "fourth", json!({ AUTO: "true" })).await;
    wait_event(&client, "fourth", "ImageCacheMissed").await;
    let after = events(&client).await;
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
    assert_eq!(caches(&client).await.len(), 1, "one is being built already");
    running.stop().await;

    let later = || Timestamp::now() + SignedDuration::from_hours(31 * 24);
    let settings = Settings {
        clock: Arc::new(later),
        ..settings()
    };
    let running = Running::with(&client, &provider, settings);
    until("the unused cache to go", || async {
        let left = caches(&client).await.len();
        (left == 0).then_some(()).ok_or(format!("{left} left"))
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn pods_of_a_namespace_that_opts_out_get_nothing() {
    let client = in_process(crds()).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = |name: &str| {
        let labels = json!({ "imagecache.dev/inject": "false" });
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        serde_json::from_value(namespace).unwrap()
    };
    namespaces
        .create(&PostParams::default(), &namespace("before"))
        .await
        .unwrap();
    let provider = MemoryProvider::default();
    let running = Running::with(&client, &provider, settings());
    create_pod_in(&client, "before", "web", json!({ AUTO: "true" })).await;
    create_pod(&client, "first", json!({ AUTO: "true" })).await;
    wait_event(&client, "first", "ImageCacheAutoCreated").await;
    // One that is made while the controller runs, and a pod in it at once.
    namespaces
        .create(&PostParams::default(), &namespace("later"))
        .await
        .unwrap();
    create_pod_in(&client, "later", "web", json!({ AUTO: "true" })).await;
    create_pod(&client, "second", json!({ AUTO: "true" })).await;
    wait_event(&client, "second", "ImageCacheMissed").await;
    running.stop().await;
    for namespace in ["before", "later"] {
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        let found = api.list(&ListParams::default()).await.unwrap().items;
        assert!(found.is_empty(), "{namespace}: {found:?}");
    }
    assert_eq!(caches(&client).await.len(), 1);
}
