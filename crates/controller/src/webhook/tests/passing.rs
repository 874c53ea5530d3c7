//! Pods that are let through as they are.

use std::sync::Arc;

use imagecache_core::{ErrorKind, Failure, Phase};
use imagecache_k8s_api::alibaba::Profile;
use serde_json::{Value, json};

use super::rig::{BOUND, OWN_NAMESPACE, admission, admitted, answer, binding, cache, patch, pod, question};
use crate::catalog::Catalog;
use crate::kubernetes::{ProfileSources, Profiles};

const ALIBABA_AUTO: (&str, &str) = ("k8s.aliyun.com/eci-image-cache", "true");
const ALIBABA_ID: &str = "k8s.aliyun.com/eci-imc-id";
const TENCENT: &str = "eks.tke.cloud.tencent.com/use-image-cache";

#[test]
fn what_is_none_of_ours_passes_unchanged() {
    let admission = admission(&[cache(&["nginx:1"], Phase::Ready)]);
    let asking = question(&pod(&[ALIBABA_AUTO], &["nginx:1"]));
    assert_ne!(
        patch(&answer(&admission, &asking)),
        json!([]),
        "without a reason it is changed"
    );
    for (row, path, value) in [
        (
            "alibaba 5: annotations count only when the pod is created",
            "/request/operation",
            json!("UPDATE"),
        ),
        ("a subresource", "/request/subResource", json!("ephemeralcontainers")),
        (
            "alibaba 5: they belong on the pod, not on the Deployment",
            "/request/kind",
            json!({ "group": "apps", "version": "v1", "kind": "Deployment" }),
        ),
        ("a pod of the cluster", "/request/namespace", json!("kube-system")),
        ("a pod of our own", "/request/namespace", json!(OWN_NAMESPACE)),
        ("no object", "/request/object", Value::Null),
        ("an object that is no pod", "/request/object", json!([1])),
        (
            "a pod that opts out",
            "/request/object/metadata/annotations/imagecache.dev~1inject",
            json!("false"),
        ),
    ] {
        let mut asking = asking.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        asking.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
        let answer = answer(&admission, &asking);
        assert_eq!(
            answer,
            json!({ "uid": asking["request"]["uid"], "allowed": true }),
            "{row}"
        );
    }
}

#[test]
fn before_the_caches_are_known_every_pod_passes_unchanged() {
    let mut admission = admission(&[]);
    admission.catalog = Arc::new(Catalog::default());
    let named = question(&pod(&[(ALIBABA_ID, "imc-00000000000000000000")], &["nginx:1"]));
    let answer = answer(&admission, &named);
    assert_eq!(answer, json!({ "uid": named["request"]["uid"], "allowed": true }));
}

#[test]
fn nobody_is_answered_before_the_profiles_are_read() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let mut admission = admission(std::slice::from_ref(&ready));
    let profiles = Arc::new(Profiles::new(ProfileSources {
        eci_profile: true,
        ..ProfileSources::default()
    }));
    admission.profiles = Arc::clone(&profiles);
    let asking = question(&pod(&[ALIBABA_AUTO], &["nginx:1"]));
    assert_eq!(patch(&answer(&admission, &asking)), json!([]));
    let line = "imagecache_admission_reviews_total{dialect=\"none\",outcome=\"not_loaded\"} 1";
    assert!(admission.metrics.render().contains(line));

    let unreadable = |kind| Failure {
        kind,
        message: "no".to_owned(),
    };
    let by_namespace = r#"[{ "name": "a", "namespaceSelector": { "matchLabels": { "a": "b" } }, "effect": { "labels": { "c": "d" } } }]"#;
    let selecting = Profile::parse(&[("selectors".to_owned(), by_namespace.to_owned())].into());
    assert_eq!(selecting.problems(), []);
    for (row, known, read) in [
        (
            "the API server does not answer",
            Err(unreadable(ErrorKind::Unavailable)),
            false,
        ),
        (
            "we have no permission, as was told",
            Err(unreadable(ErrorKind::PermissionDenied)),
            true,
        ),
        ("namespaces count and were not read", Ok(selecting), false),
        ("nothing is selected", Ok(Profile::default()), true),
    ] {
        profiles.know(known);
        assert_eq!(profiles.is_read(), read, "{row}");
    }
    assert_ne!(patch(&answer(&admission, &asking)), json!([]));
}

#[test]
fn a_pod_that_cannot_have_another_annotation_is_let_through() {
    const KUBERNETES_LIMIT: usize = 256 * 1024;
    let admission = admission(&[cache(&["nginx:1"], Phase::Ready)]);
    for (row, bytes, told) in [
        ("room is left", KUBERNETES_LIMIT - 1024, true),
        ("none is", KUBERNETES_LIMIT - 64, false),
    ] {
        let note = "x".repeat(bytes);
        let full = pod(&[ALIBABA_AUTO, ("note", &note)], &["nginx:1"]);
        let answer = answer(&admission, &question(&full));
        assert_eq!(answer["allowed"], true, "{row}");
        assert_eq!(patch(&answer) != json!([]), told, "{row}");
        let warnings = answer["warnings"].as_array().map_or(0, Vec::len);
        assert_eq!(warnings, usize::from(!told), "{row}");
    }
}

#[test]
fn a_panic_lets_the_pod_through_and_is_counted() {
    let mut admission = admission(&[cache(&["nginx:1"], Phase::Ready)]);
    admission.provider = binding(|_| panic!("a mistake of ours"));
    let asking = question(&pod(&[ALIBABA_AUTO], &["nginx:1"]));
    let answer = answer(&admission, &asking);
    assert_eq!(answer, json!({ "uid": asking["request"]["uid"], "allowed": true }));
    let metrics = admission.metrics.render();
    let line = "imagecache_admission_reviews_total{dialect=\"none\",outcome=\"error\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn the_second_time_there_is_nothing_left_to_do() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let admission = admission(std::slice::from_ref(&ready));
    for annotations in [
        &[ALIBABA_AUTO][..],
        &[(TENCENT, "auto")],
        &[(ALIBABA_ID, ready.id.as_str())],
    ] {
        let before = pod(annotations, &["nginx:1"]);
        let after = admitted(&before, &answer(&admission, &question(&before)));
        assert_eq!(after["metadata"]["annotations"][BOUND], ready.id.as_str());
        assert_eq!(
            patch(&answer(&admission, &question(&after))),
            json!([]),
            "{annotations:?}"
        );
    }
}
