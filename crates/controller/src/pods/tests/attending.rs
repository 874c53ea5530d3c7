//! What is done about a pod, against an API server that fails when it is told to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use imagecache_conformance::MemoryProvider;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::super::caretaker::Caretaker;
use super::super::settings::PodsConfig;
use super::super::{Parts, Settings};
use super::{AUTO, TENCENT};
use crate::catalog::Catalog;
use crate::kubernetes::{Metrics, ProfileSources, Profiles, PullSecretPolicy};

const OWN_NAMESPACE: &str = "imagecache-system";
const ALIBABA_CACHES: &str = "/apis/eci.alibabacloud.com/v1/imagecaches";
const TENCENT_CACHES: &str = "/apis/eks.cloud.tencent.com/v1/imagecaches";
const EVENTS: &str = "/api/v1/namespaces/shop/events";
const SECRET: &str = "/api/v1/namespaces/shop/secrets/login";

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// How often a verb on a path fails, and with which code.
    failures: BTreeMap<String, (u16, usize)>,
    /// Labels of all namespaces.
    labels: Value,
    /// Automatic caches in Alibaba's dialect.
    caches: Vec<Value>,
    /// Verb, path and the reason of an event, of every write that was taken.
    writes: Vec<String>,
}

impl Api {
    fn fail(&self, request: &str, code: u16, times: usize) {
        self.0
            .lock()
            .unwrap()
            .failures
            .insert(request.to_owned(), (code, times));
    }

    fn writes(&self) -> Vec<String> {
        self.0.lock().unwrap().writes.clone()
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (code, answer) = api.answer(&parts.method, parts.uri.path(), body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let mut inner = self.0.lock().unwrap();
        if let Some((code, left @ 1..)) = inner.failures.get_mut(&format!("{method} {path}")) {
            *left -= 1;
            let status = json!({
                "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "no", "reason": "No",
                "code": code,
            });
            return (*code, status);
        }
        if method != Method::GET {
            let reason = body["reason"]
                .as_str()
                .map(|reason| format!(" {reason}"))
                .unwrap_or_default();
            inner.writes.push(format!("{method} {path}{reason}"));
        }
        let metadata = json!({ "name": "x", "labels": inner.labels });
        let partial = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
        match (method, path) {
            (&Method::GET, ALIBABA_CACHES) => (200, json!({ "metadata": {}, "items": inner.caches })),
            (&Method::GET, TENCENT_CACHES) => (200, json!({ "metadata": {}, "items": [] })),
            (&Method::GET, _) => (200, partial),
            (&Method::DELETE, _) => (
                200,
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }),
            ),
            _ => (201, body),
        }
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn caretaker(api: &Api, settings: Settings) -> Caretaker {
    let parts = Parts {
        client: api.client(),
        catalog: Arc::new(Catalog::default()),
        profiles: Arc::new(Profiles::new(ProfileSources::default())),
        provider: Arc::new(MemoryProvider::default()),
        own_namespace: Some(OWN_NAMESPACE.to_owned()),
        native_dialect: None,
        pull_secrets: PullSecretPolicy::default(),
        metrics: Arc::new(Metrics::default()),
        clock: Arc::new(now),
        matched: Box::new(|_, _| {}),
    };
    Caretaker::new(parts, settings)
}

fn settings() -> Settings {
    PodsConfig::default().settings(None).unwrap()
}

fn pod(namespace: &str, annotation: (&str, &str)) -> Pod {
    let pod = json!({
        "metadata": {
            "name": "web", "namespace": namespace, "uid": "u", "creationTimestamp": now(),
            "annotations": { annotation.0: annotation.1 },
        },
        "spec": { "containers": [{ "name": "a", "image": "nginx:1" }], "imagePullSecrets": [{ "name": "login" }] },
    });
    serde_json::from_value(pod).unwrap()
}

/// The automatic miss of a pod of Alibaba's dialect, and the cache that it gets.
const MISSED_AND_MADE: [&str; 3] = ["ImageCacheMissed", ALIBABA_CACHES, "ImageCacheAutoCreated"];

/// What was written, sorted, by its last word.
fn written(api: &Api) -> Vec<String> {
    let last = |write: String| write.rsplit(' ').next().unwrap_or_default().to_owned();
    let mut found: Vec<_> = api.writes().into_iter().map(last).collect();
    found.sort();
    found
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_waited_out_though_the_pod_never_changes() {
    for (row, request, code) in [
        ("nothing fails", "GET /nothing", 503),
        ("the namespace cannot be read", "GET /api/v1/namespaces/shop", 500),
        ("caches cannot be listed", &format!("GET {ALIBABA_CACHES}"), 503),
        ("a secret cannot be looked for", &format!("GET {SECRET}"), 500),
        ("the cache cannot be made", &format!("POST {ALIBABA_CACHES}"), 429),
        ("events cannot be written", &format!("POST {EVENTS}"), 503),
    ] {
        let api = Api::default();
        api.fail(request, code, 3);
        let caretaker = caretaker(&api, settings());
        let pod = caretaker.new_one(pod("shop", (AUTO, "true"))).expect(row);
        caretaker.look_after(pod).await;
        let mut expected = MISSED_AND_MADE.map(str::to_owned);
        expected.sort();
        assert_eq!(written(&api), expected, "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_told_and_left() {
    let api = Api::default();
    api.fail(&format!("POST {ALIBABA_CACHES}"), 403, usize::MAX);
    let caretaker = caretaker(&api, settings());
    let pod = caretaker.new_one(pod("shop", (AUTO, "true"))).unwrap();
    caretaker.look_after(pod).await;
    assert_eq!(written(&api), ["ImageCacheAutoCreateFailed", "ImageCacheMissed"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_is_not_waited_for() {
    let api = Api::default();
    api.fail(&format!("POST {ALIBABA_CACHES}"), 503, usize::MAX);
    let caretaker = caretaker(&api, settings());
    let pod = caretaker.new_one(pod("shop", (AUTO, "true"))).unwrap();
    caretaker.seen.forget(&pod.metadata.uid);
    caretaker.look_after(pod).await;
    assert_eq!(written(&api), ["ImageCacheMissed"]);
}

#[tokio::test(start_paused = true)]
async fn who_opts_out_gets_nothing() {
    let api = Api::default();
    let caretaker = caretaker(&api, settings());
    for namespace in ["kube-system", OWN_NAMESPACE] {
        assert_eq!(caretaker.new_one(pod(namespace, (AUTO, "true"))), None, "{namespace}");
    }
    for (row, labels, told) in [
        (
            "the namespace opts out",
            json!({ "imagecache.dev/inject": "false" }),
            false,
        ),
        (
            "as the webhook's selector reads it",
            json!({ "imagecache.dev/inject": "true" }),
            true,
        ),
    ] {
        api.0.lock().unwrap().labels = labels;
        let pod = pod("shop", (AUTO, "true"));
        caretaker.seen.forget("u");
        let view = caretaker.new_one(pod.clone()).expect(row);
        caretaker.look_after(view).await;
        assert_eq!(!api.writes().is_empty(), told, "{row}");
    }
    let before = api.writes().len();
    for key in ["labels", "annotations"] {
        let mut object = serde_json::to_value(pod("shop", (AUTO, "true"))).unwrap();
        object["metadata"][key]["imagecache.dev/inject"] = json!("false");
        caretaker.seen.forget("u");
        let view = caretaker.new_one(serde_json::from_value(object).unwrap()).expect(key);
        caretaker.look_after(view).await;
        assert_eq!(api.writes().len(), before, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_for_a_cache_that_cannot_be_made() {
    let api = Api::default();
    api.0.lock().unwrap().caches = vec![json!({
        "apiVersion": "eci.alibabacloud.com/v1", "kind": "ImageCache",
        "metadata": {
            "name": "auto-create-for-old", "uid": "old", "labels": { "imagecache.dev/automatic": "true" },
            "creationTimestamp": now() - SignedDuration::from_hours(1),
        },
        "spec": { "images": ["redis:1"] }, "status": { "phase": "Ready" },
    })];
    api.fail(&format!("GET {SECRET}"), 500, 1);
    let config = PodsConfig {
        automatic_limit: 1,
        events: false,
        ..PodsConfig::default()
    };
    let caretaker = caretaker(&api, config.settings(None).unwrap());
    let pod = caretaker.new_one(pod("shop", (AUTO, "true"))).unwrap();
    caretaker.seen.forget(&pod.metadata.uid);
    caretaker.look_after(pod.clone()).await;
    assert_eq!(api.writes(), [""; 0], "the secret could not be looked for");
    caretaker.look_after(pod).await;
    let deleted = format!("DELETE {ALIBABA_CACHES}/auto-create-for-old");
    assert_eq!(api.writes(), [deleted, format!("POST {ALIBABA_CACHES}")]);
}

#[tokio::test(start_paused = true)]
async fn the_cloud_provides_for_its_own_pods_alone() {
    let settings = PodsConfig::default().settings(Some("alibaba")).unwrap();
    for (annotation, made) in [((AUTO, "true"), None), ((TENCENT, "auto"), Some(TENCENT_CACHES))] {
        let api = Api::default();
        let caretaker = caretaker(&api, settings.clone());
        let pod = caretaker.new_one(pod("shop", annotation)).unwrap();
        caretaker.look_after(pod).await;
        let caches = api.writes().into_iter().filter(|write| write.contains("imagecaches"));
        let made = made.map(|path| format!("POST {path}"));
        assert_eq!(caches.collect::<Vec<_>>(), Vec::from_iter(made), "{annotation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_image_and_size_make_one_cache() {
    let api = Api::default();
    let config = PodsConfig {
        events: false,
        ..PodsConfig::default()
    };
    let caretaker = caretaker(&api, config.settings(None).unwrap());
    for (row, storage, made) in [
        ("the first", Some("20Gi"), 1),
        ("less storage: that one is too large for it", None, 2),
        ("the same again", None, 2),
        ("as the first", Some("20Gi"), 2),
    ] {
        let mut pod = serde_json::to_value(pod("shop", (AUTO, "true"))).unwrap();
        if let Some(storage) = storage {
            pod["metadata"]["annotations"]["k8s.aliyun.com/eci-extra-ephemeral-storage"] = json!(storage);
        }
        caretaker.seen.forget("u");
        let pod = caretaker.new_one(serde_json::from_value(pod).unwrap()).expect(row);
        caretaker.look_after(pod).await;
        assert_eq!(api.writes().len(), made, "{row}");
    }
}
