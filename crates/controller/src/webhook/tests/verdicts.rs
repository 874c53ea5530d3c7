//! What pods are told, one row a fact.

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

/// Name, annotations, images, whether it is allowed, the patch, and a part of the refusal or of the first warning.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], bool, Value, &'a str);

#[test]
fn every_verdict() {
    let ready = cache(&["nginx:1", "redis:7"], Phase::Ready);
    let building = cache(&["building:1"], Phase::Creating);
    let failure = Failure {
        kind: ErrorKind::NotFound,
        message: "gone".to_owned(),
    };
    let failed = cache(&["failed:1"], Phase::Failed(failure));
    let admission = admission(&[ready.clone(), building.clone(), failed.clone()]);
    let (ready, building, failed) = (ready.id.as_str(), building.id.as_str(), failed.id.as_str());
    let unknown = "imc-00000000000000000000";
    let bound = |id: &str| json!([{ "op": "add", "path": "/metadata/annotations/example.com~1cache", "value": id }]);
    let nothing = json!([]);
    let images = &["nginx:1", "redis:7"][..];
    let rows: [Row<'_>; 13] = [
        ("asks for nothing", &[("team", "a")], images, true, nothing.clone(), ""),
        ("Alibaba, automatic", &[ALIBABA_AUTO], images, true, bound(ready), ""),
        (
            "Tencent, automatic",
            &[(TENCENT, "auto")],
            images,
            true,
            bound(ready),
            "",
        ),
        (
            "Alibaba, another version",
            &[ALIBABA_AUTO],
            &["nginx:2"],
            true,
            bound(ready),
            "",
        ),
        (
            "Tencent, another version",
            &[(TENCENT, "auto")],
            &["nginx:2"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "nothing suits",
            &[ALIBABA_AUTO],
            &["postgres"],
            true,
            nothing.clone(),
            "",
        ),
        (
            "Alibaba, named",
            &[(ALIBABA_ID, ready)],
            &["postgres"],
            true,
            bound(ready),
            "",
        ),
        (
            "Tencent, named",
            &[(TENCENT, ready)],
            &["postgres"],
            true,
            bound(ready),
            "",
        ),
        (
            "Alibaba, named, being built",
            &[(ALIBABA_ID, building)],
            images,
            false,
            nothing.clone(),
            "not Ready but Creating",
        ),
        (
            "Tencent, named, being built",
            &[(TENCENT, building)],
            images,
            true,
            nothing.clone(),
            "not Ready but Creating",
        ),
        (
            "Alibaba, named, failed",
            &[(ALIBABA_ID, failed)],
            images,
            false,
            nothing.clone(),
            "not Ready but Failed",
        ),
        (
            "Alibaba, named, unknown",
            &[(ALIBABA_ID, unknown)],
            images,
            false,
            nothing.clone(),
            "there is no such cache",
        ),
        (
            "not understood",
            &[(ALIBABA_ID, "no id")],
            images,
            true,
            nothing.clone(),
            ALIBABA_ID,
        ),
    ];
    for (row, annotations, images, allowed, expected, part) in rows {
        let answer = answer(&admission, &question(&pod(annotations, images)));
        assert_eq!(answer["allowed"], allowed, "{row}: {answer}");
        assert_eq!(patch(&answer), expected, "{row}");
        let said = [&answer["status"]["message"], &answer["warnings"][0]];
        let said = said.iter().find_map(|text| text.as_str()).unwrap_or_default();
        assert!(said.contains(part), "{row}: {said}");
        assert_eq!(said.is_empty(), part.is_empty(), "{row}: {said}");
    }
}

#[test]
fn a_refusal_names_the_cache_and_says_what_to_do() {
    let building = cache(&["nginx:1"], Phase::Creating);
    let pod = pod(&[(ALIBABA_ID, building.id.as_str())], &["nginx:1"]);
    let answer = answer(&admission(std::slice::from_ref(&building)), &question(&pod));
    let expected = format!(
        "image cache `{}`, which the pod names, cannot be used: it is not Ready but Creating; name one that is Ready",
        building.id
    );
    assert_eq!(
        answer["status"],
        json!({ "code": 403, "reason": "Forbidden", "message": expected })
    );
}

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
        ("an update", "/request/operation", json!("UPDATE")),
        ("a subresource", "/request/subResource", json!("ephemeralcontainers")),
        (
            "a Deployment",
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
fn a_cache_that_only_the_cloud_knows_is_left_to_it() {
    let mut admission = admission(&[]);
    admission.native = Some("alibaba");
    let named = pod(&[(ALIBABA_ID, "imc-00000000000000000000")], &["nginx:1"]);
    assert_eq!(answer(&admission, &question(&named))["allowed"], true);
    admission.native = Some("tencent");
    assert_eq!(answer(&admission, &question(&named))["allowed"], false);
}

#[test]
fn containers_that_always_ask_the_registry_are_told() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let mut asking = pod(&[ALIBABA_AUTO], &["nginx:1", "nginx:1", "redis:7"]);
    for n in [0, 2] {
        asking["spec"]["containers"][n]["imagePullPolicy"] = json!("Always");
    }
    let answer = answer(&admission(std::slice::from_ref(&ready)), &question(&asking));
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(
        warnings.len(),
        1,
        "only c0 has the policy and an image of the cache: {warnings:?}"
    );
    let warning = warnings.first().unwrap().as_str().unwrap();
    for part in ["`c0`", "Always", ready.id.as_str()] {
        assert!(warning.contains(part), "{warning}");
    }
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
