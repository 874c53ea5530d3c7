//! What pods ask for: a row for each sentence of the vendors' precedence rules. Sections are those of the fact sheets.

mod properties;

use imagecache_core::{MatchOrder, MatchRules, Need, Otherwise, PodRequest, PodWish};
use imagecache_k8s_api::pod::{InvalidPod, PodView, named, request};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const NEW_AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const OLD_AUTO: &str = "k8s.aliyun.com/eci-image-cache";
const NEW_ID: &str = "k8s.aliyun.com/eci-imc-id";
const OLD_ID: &str = "k8s.aliyun.com/eci-image-snapshot-id";
const PERFECT: &str = "k8s.aliyun.com/imc-perfect-match";
const COUNT: &str = "k8s.aliyun.com/imc-match-count-request";
const STORAGE: &str = "k8s.aliyun.com/eci-extra-ephemeral-storage";
const TENCENT: &str = "eks.tke.cloud.tencent.com/use-image-cache";
const OURS: &str = "imagecache.dev/cache-id";
const INJECT: &str = "imagecache.dev/inject";

fn pod(annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<_, _> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    json!({
        "metadata": { "name": "web", "annotations": annotations },
        "spec": { "containers": [{ "name": "a", "image": "nginx:1" }] },
    })
}

fn ask(pod: &Value, native: Option<&str>) -> Result<Option<PodRequest>, InvalidPod> {
    request(&serde_json::from_value(pod.clone()).unwrap(), native)
}

/// Dialect and wish of a pod with these annotations.
fn wish(annotations: &[(&str, &str)], native: Option<&str>) -> Option<(&'static str, PodWish)> {
    let request = ask(&pod(annotations), native).unwrap();
    request.map(|request| (request.dialect, request.wish))
}

fn alibaba(need: Need) -> PodWish {
    PodWish::Automatic(MatchRules {
        need,
        order: MatchOrder::ClosestSize,
        storage_gib: Some(30),
    })
}

fn tencent() -> PodWish {
    PodWish::Automatic(MatchRules {
        need: Need::All,
        order: MatchOrder::SmallestSize,
        storage_gib: None,
    })
}

fn refuse(id: &str) -> PodWish {
    named_wish(id, Otherwise::Refuse)
}

fn pull(id: &str) -> PodWish {
    named_wish(id, Otherwise::Pull)
}

fn named_wish(id: &str, otherwise: Otherwise) -> PodWish {
    PodWish::Named {
        id: id.to_owned(),
        otherwise,
    }
}

/// A rule, a pod's annotations, and what it wants.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<PodWish>);

#[test]
fn alibabas_annotations() {
    let rows: &[Row<'_>] = &[
        ("5.1 none of them: nothing", &[], None),
        ("5.1 new name, true", &[(NEW_AUTO, "true")], Some(alibaba(Need::Any))),
        ("5.1 new name, false", &[(NEW_AUTO, "false")], None),
        ("5.1 old name, true", &[(OLD_AUTO, "true")], Some(alibaba(Need::Any))),
        ("5.1 old name, false", &[(OLD_AUTO, "false")], None),
        (
            "5 all values are strings, case is not told",
            &[(NEW_AUTO, "True")],
            Some(alibaba(Need::Any)),
        ),
        (
            "5 a blank string is not given",
            &[(NEW_AUTO, " "), (OLD_AUTO, "true")],
            Some(alibaba(Need::Any)),
        ),
        ("5.1 new id", &[(NEW_ID, "imc-a")], Some(refuse("imc-a"))),
        ("5.1 old id", &[(OLD_ID, "imc-a")], Some(refuse("imc-a"))),
        (
            "5.1 explicit id over automatic matching",
            &[(NEW_ID, "imc-a"), (NEW_AUTO, "true")],
            Some(refuse("imc-a")),
        ),
        (
            "5.1 explicit id over automatic matching, old names",
            &[(OLD_ID, "imc-a"), (OLD_AUTO, "true")],
            Some(refuse("imc-a")),
        ),
        (
            "5.1 explicit id over automatic matching, old id and new switch",
            &[(OLD_ID, "imc-a"), (NEW_AUTO, "true")],
            Some(refuse("imc-a")),
        ),
        (
            "5.1 explicit id over automatic matching, new id and old switch",
            &[(NEW_ID, "imc-a"), (OLD_AUTO, "true")],
            Some(refuse("imc-a")),
        ),
        (
            "5.1 explicit id though matching is switched off",
            &[(NEW_ID, "imc-a"), (NEW_AUTO, "false")],
            Some(refuse("imc-a")),
        ),
        (
            "5.1 explicit id, then the match rules are not even read",
            &[(NEW_ID, "imc-a"), (PERFECT, "perhaps"), (COUNT, "x")],
            Some(refuse("imc-a")),
        ),
        (
            "5.1 perfect match over match count",
            &[(NEW_AUTO, "true"), (PERFECT, "true"), (COUNT, "2")],
            Some(alibaba(Need::All)),
        ),
        (
            "5.1 match count",
            &[(NEW_AUTO, "true"), (COUNT, "2")],
            Some(alibaba(Need::Exactly(2))),
        ),
        (
            "5.1 perfect match is false by default, and when said",
            &[(NEW_AUTO, "true"), (PERFECT, "false"), (COUNT, "2")],
            Some(alibaba(Need::Exactly(2))),
        ),
        (
            "5.1 the new switch is true by default where its refinements are given",
            &[(PERFECT, "true")],
            Some(alibaba(Need::All)),
        ),
        ("5.1 as above, count", &[(COUNT, "1")], Some(alibaba(Need::Exactly(1)))),
        (
            "5.1 a refinement of what is switched off",
            &[(NEW_AUTO, "false"), (PERFECT, "true")],
            None,
        ),
        (
            "5.1 the refinements have no old names, old names have them too",
            &[(OLD_AUTO, "true"), (PERFECT, "true")],
            Some(alibaba(Need::All)),
        ),
        (
            "5.1 new name beats old (not documented, 10.7): off",
            &[(NEW_AUTO, "false"), (OLD_AUTO, "true")],
            None,
        ),
        (
            "5.1 new name beats old (not documented, 10.7): on",
            &[(NEW_AUTO, "true"), (OLD_AUTO, "false")],
            Some(alibaba(Need::Any)),
        ),
        (
            "5.1 new id beats old id (not documented, 10.7)",
            &[(NEW_ID, "imc-new"), (OLD_ID, "imc-old")],
            Some(refuse("imc-new")),
        ),
        ("5.2 storage alone asks for nothing", &[(STORAGE, "20Gi")], None),
    ];
    for (name, annotations, expected) in rows {
        let expected = expected.clone().map(|wish| ("alibaba", wish));
        assert_eq!(wish(annotations, None), expected, "{name}");
    }
}

#[test]
fn extra_storage_is_added_to_the_30_gib() {
    for (section, text, gib) in [
        ("5.2", "20Gi", 50),
        ("5.2 another unit", "1Ti", 1054),
        ("5.2 rounded down, so that a cache certainly fits", "1500Mi", 31),
        ("5.2 decimal units", "20G", 48),
        ("7.1 step 1: nothing was added", "0Gi", 30),
    ] {
        let request = ask(&pod(&[(NEW_AUTO, "true"), (STORAGE, text)]), None)
            .unwrap()
            .unwrap();
        let PodWish::Automatic(rules) = request.wish else {
            panic!("{section}: {request:?}");
        };
        assert_eq!(rules.storage_gib, Some(gib), "{section}");
    }
}

#[test]
fn tencents_annotations() {
    for (name, value, expected) in [
        ("6.1 absent: no image cache", None, None),
        (
            "6 all values are strings, case is not told",
            Some("AUTO"),
            Some(tencent()),
        ),
        ("6.1 auto", Some("auto"), Some(tencent())),
        ("6.1 an id", Some("imc-a"), Some(pull("imc-a"))),
        ("6 a blank string is not given", Some(""), None),
    ] {
        let annotations: Vec<_> = value.map(|value| (TENCENT, value)).into_iter().collect();
        let expected = expected.map(|wish| ("tencent", wish));
        assert_eq!(wish(&annotations, None), expected, "{name}");
    }
}

/// Alibaba 5.1 and Tencent 6.1 know nothing of each other. What a named cache beats is 5.1's sentence, here across clouds.
#[test]
fn where_a_pod_speaks_both_dialects() {
    let both_auto = &[(NEW_AUTO, "true"), (TENCENT, "auto")][..];
    let both_named = &[(NEW_ID, "imc-a"), (TENCENT, "imc-t")][..];
    for (name, annotations, native, expected) in [
        ("Alibaba first", both_auto, None, ("alibaba", alibaba(Need::Any))),
        (
            "the cloud's own first",
            both_auto,
            Some("tencent"),
            ("tencent", tencent()),
        ),
        (
            "the cloud's own first",
            both_auto,
            Some("alibaba"),
            ("alibaba", alibaba(Need::Any)),
        ),
        ("named, Alibaba first", both_named, None, ("alibaba", refuse("imc-a"))),
        (
            "named, the cloud's own first",
            both_named,
            Some("tencent"),
            ("tencent", pull("imc-t")),
        ),
        (
            "alibaba 5.1: named beats automatic, also across dialects",
            &[(NEW_AUTO, "true"), (TENCENT, "imc-t")],
            Some("alibaba"),
            ("tencent", pull("imc-t")),
        ),
        (
            "alibaba 5.1: named beats automatic, the other way",
            &[(OLD_ID, "imc-a"), (TENCENT, "auto")],
            Some("tencent"),
            ("alibaba", refuse("imc-a")),
        ),
        (
            "tencent 6.1: a pod of the other cloud",
            &[(TENCENT, "auto")],
            Some("alibaba"),
            ("tencent", tencent()),
        ),
        (
            "ours is what admission wrote for an automatic one",
            &[(NEW_AUTO, "true"), (OURS, "imc-o")],
            None,
            ("alibaba", pull("imc-o")),
        ),
        (
            "a vendor's id beats ours",
            &[(NEW_ID, "imc-a"), (OURS, "imc-o")],
            None,
            ("alibaba", refuse("imc-a")),
        ),
        ("ours alone", &[(OURS, "imc-o")], None, ("imagecache", pull("imc-o"))),
    ] {
        assert_eq!(wish(annotations, native), Some(expected), "{name}");
    }
}

#[test]
fn a_pod_can_opt_out() {
    for place in ["annotations", "labels"] {
        let mut object = pod(&[(NEW_ID, "imc-a"), (NEW_AUTO, "nonsense")]);
        object["metadata"][place][INJECT] = json!("false");
        assert_eq!(ask(&object, None), Ok(None), "{place}");
    }
    assert!(wish(&[(NEW_ID, "imc-a"), (INJECT, "true")], None).is_some());
}

#[test]
fn the_id_in_any_form() {
    for (name, annotations, expected) in [
        (
            "alibaba 5.1, new",
            &[(NEW_ID, "imc-a"), (OLD_ID, "imc-b")][..],
            Some("imc-a"),
        ),
        ("alibaba 5.1, old", &[(OLD_ID, "imc-b")], Some("imc-b")),
        ("tencent 6.1", &[(TENCENT, "imc-t")], Some("imc-t")),
        ("tencent 6.1: auto is no id", &[(TENCENT, "auto")], None),
        ("ours", &[(OURS, "imc-o"), (TENCENT, "auto")], Some("imc-o")),
        ("none", &[(NEW_AUTO, "true")], None),
    ] {
        let view: PodView = serde_json::from_value(pod(annotations)).unwrap();
        assert_eq!(named(&view.metadata.annotations), expected, "{name}");
    }
}

/// Whether init containers count is open (alibaba 5.1, 10.1): they do, since their images have to be there first.
#[test]
fn all_images_of_a_pod_each_once_and_knatives_sidecar_apart() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut object = json!({
        "metadata": { "annotations": { NEW_AUTO: "true" }, "labels": {} },
        "spec": {
            "initContainers": [{ "name": "i", "image": "busybox" }],
            "containers": [
                { "name": "user-container", "image": format!("index.docker.io/team/app@{digest}") },
                { "name": "again", "image": "docker.io/library/busybox:latest" },
                { "name": "queue-proxy", "image": "gcr.io/knative/queue@".to_owned() + digest },
                { "name": "filled-in-later", "image": "" },
            ],
        },
    });
    let images = |object: &Value| {
        let request = ask(object, None).unwrap().unwrap();
        let texts = |images: &[imagecache_core::ImageRef]| images.iter().map(ToString::to_string).collect::<Vec<_>>();
        (texts(&request.images), texts(&request.uncounted))
    };
    let queue = format!("gcr.io/knative/queue@{digest}");
    let expected = vec![
        "docker.io/library/busybox:latest".to_owned(),
        format!("docker.io/team/app@{digest}"),
        queue.clone(),
    ];
    assert_eq!(
        images(&object),
        (expected.clone(), vec![]),
        "alibaba 5.1, init containers; no Knative pod"
    );
    object["metadata"]["labels"]["serving.knative.dev/revision"] = json!("web-00001");
    assert_eq!(images(&object), (expected.clone(), vec![queue.clone()]));
    object["spec"]["containers"][1]["image"] = json!(queue);
    let (all, uncounted) = images(&object);
    assert_eq!(
        (all.len(), uncounted.len()),
        (3, 0),
        "the author's own container has it too"
    );
}

#[test]
fn mistakes_name_the_field_and_the_remedy() {
    let annotation = |name: &str| format!("metadata.annotations[{name}]");
    for (annotations, field, part) in [
        (&[(NEW_AUTO, "yes")][..], NEW_AUTO, "true or false"),
        (&[(NEW_AUTO, "true"), (PERFECT, "1")], PERFECT, "true or false"),
        (&[(NEW_AUTO, "true"), (COUNT, "0")], COUNT, "1 to 1000"),
        (&[(NEW_AUTO, "true"), (COUNT, "two")], COUNT, "whole number"),
        (&[(NEW_AUTO, "true"), (STORAGE, "20")], STORAGE, "20Gi"),
        (&[(NEW_AUTO, "true"), (STORAGE, "-1Gi")], STORAGE, "20Gi"),
        (&[(NEW_ID, "web")], NEW_ID, "imc-"),
        (&[(OLD_ID, "imc-A/B")], OLD_ID, "imc-"),
        (&[(TENCENT, "true")], TENCENT, "auto or the id"),
        (&[(OURS, "x")], OURS, "imc-"),
    ] {
        let error = ask(&pod(annotations), None).unwrap_err();
        assert_eq!(error.field(), annotation(field));
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut object = pod(&[(NEW_AUTO, "true")]);
    object["spec"]["containers"][0]["image"] = json!("Not An Image");
    assert_eq!(ask(&object, None).unwrap_err().field(), "spec.containers[0].image");
}

#[test]
fn odd_shapes_hide_nothing_else() {
    let object = json!({
        "metadata": { "labels": [1], "annotations": { NEW_AUTO: "true", "n": 1 }, "creationTimestamp": 7, "name": {} },
        "spec": { "containers": [7, { "image": "nginx", "ports": "?" }], "initContainers": 3, "imagePullSecrets": [{ "name": "s" }] },
        "status": 5,
    });
    let view: PodView = serde_json::from_value(object).unwrap();
    assert_eq!(view.spec.image_pull_secrets[0].name, "s");
    let request = request(&view, None).unwrap().unwrap();
    assert_eq!(request.images[0].to_string(), "docker.io/library/nginx:latest");
    for object in [json!(null), json!([]), json!({ "metadata": null, "spec": null })] {
        let view = serde_json::from_value(object).unwrap_or_default();
        assert_eq!(self::request(&view, None), Ok(None));
    }
}

#[test]
fn a_pod_that_was_read_in_full_gives_the_same_view() {
    let object = json!({
        "metadata": {
            "name": "web-1", "generateName": "web-", "namespace": "shop", "uid": "u", "labels": { "a": "b" },
            "annotations": { NEW_AUTO: "true" }, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "containers": [{ "name": "a", "image": "nginx", "imagePullPolicy": "Always" }],
            "initContainers": [{ "name": "i", "image": "busybox" }],
            "imagePullSecrets": [{ "name": "s" }],
        },
        "status": { "phase": "Pending" },
    });
    let read: PodView = serde_json::from_value(object.clone()).unwrap();
    let full: Pod = serde_json::from_value(object).unwrap();
    assert_eq!(PodView::from(full), read);
    assert_eq!(read.status.phase, "Pending");
}
