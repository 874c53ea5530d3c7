//! Whatever a pod looks like: nothing panics, nothing of it is lost, and the second time nothing is left to do.

use std::sync::Arc;

use imagecache_core::{CACHE_ID_ANNOTATION, Phase, PodPatch};
use imagecache_k8s_api::alibaba::Profile;
use imagecache_k8s_api::tencent::EksConfig;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::rig::{BOUND, admission, admitted, answer, binding, cache, patch, question};
use crate::kubernetes::{ProfileSources, Profiles};

const ANNOTATIONS: [&str; 8] = [
    "k8s.aliyun.com/eci-image-cache",
    "k8s.aliyun.com/eci-image-snapshot-id",
    "k8s.aliyun.com/eci-auto-imc",
    "k8s.aliyun.com/eci-imc-id",
    "k8s.aliyun.com/imc-perfect-match",
    "k8s.aliyun.com/imc-match-count-request",
    "eks.tke.cloud.tencent.com/use-image-cache",
    "imagecache.dev/inject",
];

/// Any JSON, a few levels deep.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z/~]{0,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// An annotation's text, of those that mean something more often than not.
fn text() -> impl Strategy<Value = String> {
    let id = cache(&["nginx:1", "redis:7"], Phase::Ready).id.to_string();
    let building = cache(&["building:1"], Phase::Creating).id.to_string();
    prop_oneof![
        Just(id),
        Just(building),
        proptest::sample::select(vec!["true", "auto", "false", "1", "", "imc-00000000000000000000"])
            .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn annotations() -> impl Strategy<Value = Value> {
    let name =
        prop_oneof![3 => proptest::sample::select(&ANNOTATIONS[..]).prop_map(str::to_owned), 1 => "[a-z./~]{1,12}"];
    prop_oneof![
        6 => btree_map(name.clone(), text(), 0..5).prop_map(|map| json!(map)),
        1 => Just(Value::Null),
        1 => btree_map(name, json(), 0..3).prop_map(|map| json!(map)),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let image = prop_oneof![
        4 => proptest::sample::select(vec!["nginx:1", "redis:7", "nginx", "building:1"]).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => json(),
    ];
    let policy = prop_oneof![Just(json!("Always")), Just(json!("IfNotPresent")), json()];
    (image, policy, json()).prop_map(
        |(image, policy, other)| json!({ "name": "c", "image": image, "imagePullPolicy": policy, "env": other }),
    )
}

/// A pod, or something that is nearly one.
fn pods() -> impl Strategy<Value = Value> {
    let shaped = (
        option::weighted(0.9, annotations()),
        vec(container(), 0..5),
        json(),
        json(),
    )
        .prop_map(|(annotations, containers, labels, other)| {
            let mut metadata = json!({ "generateName": "web-", "labels": labels });
            if let Some(annotations) = annotations {
                metadata["annotations"] = annotations;
            }
            json!({ "metadata": metadata, "spec": { "containers": containers, "volumes": other } })
        });
    prop_oneof![9 => shaped, 1 => json()]
}

/// Selectors of `eci-profile`, of those that are understood more often than not.
fn selectors() -> impl Strategy<Value = Value> {
    let labels = btree_map("[ab]", "[ab]", 0..2).prop_map(|map| json!({ "matchLabels": map }));
    let name = prop_oneof![
        3 => proptest::sample::select(&ANNOTATIONS[..]).prop_map(str::to_owned),
        2 => "[a-z.]{1,3}/[a-zA-Z~]{1,3}",
    ];
    let annotations = prop_oneof![
        8 => btree_map(name.clone(), text(), 0..4).prop_map(|map| json!(map)),
        // Four of these are more than Kubernetes takes.
        1 => name.prop_map(|name| json!({ name: "x".repeat(60 * 1024) })),
        1 => json(),
    ];
    let effect = (annotations, btree_map("[ab]", "[ab]", 0..3))
        .prop_map(|(annotations, labels)| json!({ "annotations": annotations, "labels": labels }));
    let entry = ("[a-z]?", option::of(labels), effect).prop_map(|(name, selector, effect)| {
        let mut entry = json!({ "name": name, "effect": effect });
        if let Some(selector) = selector {
            entry["objectSelector"] = selector;
        }
        entry
    });
    vec(prop_oneof![9 => entry, 1 => json()], 0..7).prop_map(Value::from)
}

/// What `eks-config` says.
fn config() -> impl Strategy<Value = Value> {
    btree_map("[a-z.]{1,3}/[a-z]{1,3}", text(), 0..3).prop_map(|map| json!(map))
}

/// Which texts of `before` are not the same in `after`, but for `may_change`; both are annotations or labels. Values that are no
/// texts come from no API server.
fn lost(before: &Value, after: &Value, may_change: &str) -> Vec<String> {
    let entries = before
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_string());
    let lost = entries.filter(|(name, value)| *name != may_change && after.get(name.as_str()) != Some(*value));
    lost.map(|(name, _)| name.clone()).collect()
}

/// `pod` without annotations and labels.
fn without_texts(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
        metadata.remove("labels");
    }
    pod
}

/// `pod` without what admission may set.
fn without(pod: &Value, name: &str) -> Value {
    let mut pod = pod.clone();
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(name);
        }
        if metadata
            .get("annotations")
            .is_some_and(|annotations| annotations.is_null() || *annotations == json!({}))
        {
            metadata.remove("annotations");
        }
    }
    pod
}

proptest! {
    #[test]
    fn nothing_of_a_pod_is_lost(pod in pods(), provider in proptest::sample::select(vec![
        (None, CACHE_ID_ANNOTATION),
        (Some("alibaba"), "k8s.aliyun.com/eci-imc-id"),
        (Some("tencent"), "eks.tke.cloud.tencent.com/use-image-cache"),
    ])) {
        let (native, annotation) = provider;
        let mut admission = admission(&[cache(&["nginx:1", "redis:7"], Phase::Ready), cache(&["building:1"], Phase::Creating)]);
        admission.native = native;
        admission.provider = binding(move |id| PodPatch::annotation(annotation, id.as_str()));
        let admission = Arc::new(admission);

        let first = answer(&admission, &question(&pod));
        prop_assert!(!admission.metrics.render().contains("outcome=\"error\""), "it panicked");
        if first["allowed"] == false {
            prop_assert_eq!(patch(&first), json!([]));
            return Ok(());
        }
        let after = admitted(&pod, &first);
        prop_assert_eq!(without(&after, annotation), without(&pod, annotation), "only the annotation may differ");
        let second = answer(&admission, &question(&after));
        prop_assert_eq!(&second["allowed"], &json!(true));
        prop_assert_eq!(patch(&second), json!([]), "the second time");
    }

    #[test]
    fn whatever_the_cluster_adds_is_added_once_and_to_what_is_there(
        pod in pods(),
        labels in option::weighted(0.7, btree_map("[ab]", "[ab]", 0..3)),
        selectors in selectors(),
        config in config(),
    ) {
        let mut pod = pod;
        if let (Some(labels), Some(metadata)) = (labels, pod.get_mut("metadata").and_then(Value::as_object_mut)) {
            metadata.insert("labels".to_owned(), json!(labels));
        }
        let mut admission = admission(&[cache(&["nginx:1", "redis:7"], Phase::Ready)]);
        let profiles = Profiles::new(ProfileSources { eci_profile: true, eks_config: true });
        profiles.know(Ok(Profile::parse(&[("selectors".to_owned(), selectors.to_string())].into())));
        profiles.know_config(EksConfig::parse(&[("pod.annotations".to_owned(), config.to_string())].into()));
        admission.profiles = Arc::new(profiles);

        let first = answer(&admission, &question(&pod));
        prop_assert!(!admission.metrics.render().contains("outcome=\"error\""), "it panicked");
        if first["allowed"] == false {
            prop_assert_eq!(patch(&first), json!([]));
            return Ok(());
        }
        let after = admitted(&pod, &first);
        prop_assert_eq!(without_texts(&after), without_texts(&pod));
        for key in ["annotations", "labels"] {
            let lost = lost(&pod["metadata"][key], &after["metadata"][key], BOUND);
            prop_assert_eq!(lost, Vec::<String>::new(), "of the {}", key);
        }
        if patch(&first) != json!([]) {
            let texts = after["metadata"]["annotations"].as_object().into_iter().flatten();
            let bytes: usize = texts.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
            prop_assert!(bytes <= 256 * 1024, "Kubernetes refuses {bytes} bytes");
        }
        let second = answer(&admission, &question(&after));
        prop_assert_eq!(patch(&second), json!([]), "the second time");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), cut in any::<proptest::sample::Index>()) {
        let admission = admission(&[]);
        let _ = admission.review(&bytes);
        let whole = question(&json!({ "metadata": {} })).to_string();
        let part = whole.as_bytes().get(..cut.index(whole.len())).unwrap();
        prop_assert!(admission.review(part).is_err());
    }
}
