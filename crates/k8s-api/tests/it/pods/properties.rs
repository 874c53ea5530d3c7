//! Any annotations and any object: a request, or an error that names its place.

use imagecache_core::PodWish;
use imagecache_k8s_api::pod::{PodView, named, request};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{COUNT, INJECT, NEW_AUTO, NEW_ID, OLD_AUTO, OLD_ID, OURS, PERFECT, STORAGE, TENCENT, ask, pod};

fn value() -> impl Strategy<Value = String> {
    let known = [
        "true",
        "false",
        "auto",
        "imc-a",
        "imc-A",
        "20Gi",
        "0",
        "3",
        "99999999999Ti",
        "-1",
        " ",
    ];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        any::<String>()
    ]
}

fn name() -> impl Strategy<Value = String> {
    let known = [
        NEW_AUTO, OLD_AUTO, NEW_ID, OLD_ID, PERFECT, COUNT, STORAGE, TENCENT, OURS, INJECT,
    ];
    prop_oneof![
        8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        value().prop_map(Value::from),
    ];
    let key = prop_oneof![
        proptest::sample::select(vec![
            "metadata",
            "annotations",
            "spec",
            "containers",
            "image",
            "name",
            "labels"
        ])
        .prop_map(str::to_owned),
        name(),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn random_annotations_give_a_request_or_an_error_that_names_its_place(
        annotations in proptest::collection::btree_map(name(), value(), 0..8),
        image in prop_oneof![Just("nginx".to_owned()), any::<String>()],
        native in proptest::sample::select(vec![None, Some("alibaba"), Some("tencent"), Some("x")]),
    ) {
        let mut object = pod(&[]);
        object["metadata"]["annotations"] = json!(annotations);
        object["spec"]["containers"][0]["image"] = json!(image);
        match ask(&object, native) {
            Ok(Some(request)) => {
                if let PodWish::Named { id, .. } = &request.wish {
                    prop_assert!(annotations.values().any(|value| value.trim() == id));
                }
            }
            Ok(None) => {}
            Err(error) => prop_assert!(error.field().starts_with("metadata.annotations[") || error.field().ends_with(".image")),
        }
    }

    #[test]
    fn any_json_object_is_a_pod(fields in proptest::collection::btree_map("metadata|spec|status|kind", any_json(), 0..4)) {
        let view: PodView = serde_json::from_value(json!(fields)).unwrap();
        let _ = request(&view, None);
        let _ = named(&view.metadata.annotations);
    }
}
