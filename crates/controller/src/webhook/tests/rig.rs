//! Caches, pods and reviews of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagecache_core::{CacheId, CacheKey, CacheProvider, CacheSpec, CacheState, MockCacheProvider, Phase, PodPatch};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::admission::Admission;
use crate::catalog::Catalog;
use crate::kubernetes::{Metrics, ProfileSources, Profiles};

/// What the provider of these tests writes into pods.
pub(super) const BOUND: &str = "example.com/cache";
pub(super) const OWN_NAMESPACE: &str = "imagecache-system";

/// The time of all tests.
pub(super) fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A cache that holds these images.
pub(super) fn cache(images: &[&str], phase: Phase) -> CacheState {
    let spec = CacheSpec::new(images.iter().map(|image| image.parse().unwrap()).collect());
    let key = CacheKey::new(&images.join("-"), &spec);
    CacheState {
        phase,
        ..CacheState::requested(&key, &spec, now())
    }
}

/// A provider that binds pods by the annotation [`BOUND`].
pub(super) fn provider() -> Arc<dyn CacheProvider> {
    binding(|id| PodPatch::annotation(BOUND, id.as_str()))
}

/// A provider that binds pods so.
pub(super) fn binding(bind: impl Fn(&CacheId) -> PodPatch + Send + Sync + 'static) -> Arc<dyn CacheProvider> {
    let mut provider = MockCacheProvider::new();
    provider.expect_bind().returning(move |id| bind(id));
    Arc::new(provider)
}

/// Admission over these caches, all listed.
pub(super) fn admission(caches: &[CacheState]) -> Admission {
    let catalog = Catalog::default();
    let changes: Vec<_> = caches
        .iter()
        .map(|state| (state.key.clone(), Some(state.clone())))
        .collect();
    catalog.apply(&changes);
    catalog.loaded();
    Admission {
        catalog: Arc::new(catalog),
        profiles: Arc::new(Profiles::new(ProfileSources::default())),
        provider: provider(),
        native: None,
        own_namespace: Some(OWN_NAMESPACE.to_owned()),
        metrics: Arc::new(Metrics::default()),
        clock: Arc::new(now),
    }
}

/// A pod with these annotations and containers, each a name with its image.
pub(super) fn pod(annotations: &[(&str, &str)], images: &[&str]) -> Value {
    let annotations: serde_json::Map<_, _> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({ "name": format!("c{n}"), "image": image, "imagePullPolicy": "IfNotPresent" }))
        .collect();
    let mut metadata = json!({ "generateName": "web-", "namespace": "default" });
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": { "containers": containers } })
}

/// The API server's question about a new pod, as version 1.20 writes it.
pub(super) fn question(pod: &Value) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "default", "operation": "CREATE",
            "userInfo": { "username": "admin", "groups": ["system:masters"] },
            "object": pod, "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}

/// The answer to a question.
pub(super) fn answer(admission: &Admission, question: &Value) -> Value {
    let answer = admission.review(question.to_string().as_bytes()).unwrap();
    let review: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(review["response"]["uid"], question["request"]["uid"]);
    review["response"].clone()
}

/// The JSON patch in an answer; empty when there is none.
pub(super) fn patch(answer: &Value) -> Value {
    match answer["patch"].as_str() {
        Some(patch) => serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap(),
        None => json!([]),
    }
}

/// `pod` after admission has answered.
pub(super) fn admitted(pod: &Value, answer: &Value) -> Value {
    let mut pod = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch(answer)).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}
