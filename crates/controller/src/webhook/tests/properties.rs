//! Whatever a pod looks like: nothing panics, nothing of it is lost, and the second time nothing is left to do.

use std::sync::Arc;

use imagecache_core::{CACHE_ID_ANNOTATION, Phase, PodPatch};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::rig::{admission, admitted, answer, binding, cache, patch, question};

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
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), cut in any::<proptest::sample::Index>()) {
        let admission = admission(&[]);
        let _ = admission.review(&bytes);
        let whole = question(&json!({ "metadata": {} })).to_string();
        let part = whole.as_bytes().get(..cut.index(whole.len())).unwrap();
        prop_assert!(admission.review(part).is_err());
    }
}
