//! What the cluster's ConfigMaps make of pods, one row a fact. Sections are those of the fact sheets: 8 is Alibaba's, 6
//! Tencent's.

use std::collections::BTreeMap;

use imagecache_core::Phase;
use imagecache_k8s_api::alibaba::Profile;
use imagecache_k8s_api::tencent::EksConfig;
use serde_json::{Value, json};

use super::super::admission::Admission;
use super::rig::{BOUND, admission, admitted, answer, cache, patch, pod, question};

const ID: &str = "k8s.aliyun.com/eci-imc-id";
const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const OLD_AUTO: &str = "k8s.aliyun.com/eci-image-cache";
const PERFECT: &str = "k8s.aliyun.com/imc-perfect-match";
const USE: &str = "eks.tke.cloud.tencent.com/use-image-cache";
const DISK_SIZE: &str = "eks.tke.cloud.tencent.com/image-cache-disk-size";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Knows a profile with these selectors, and a namespace `default` labelled `team=ml`.
fn know(admission: &Admission, selectors: &Value) {
    let profile = Profile::parse(&map(&[("selectors", &selectors.to_string())]));
    assert_eq!(profile.problems(), []);
    admission.profiles.know(Ok(profile));
    admission.profiles.know_namespace("default", map(&[("team", "ml")]));
}

/// The annotations of a pod after admission.
fn annotations(admission: &Admission, pod: &Value) -> BTreeMap<String, String> {
    let answer = answer(admission, &question(pod));
    assert_eq!(answer["allowed"], true, "{answer}");
    let after = admitted(pod, &answer);
    serde_json::from_value(after["metadata"]["annotations"].clone()).unwrap_or_default()
}

#[test]
fn alibabas_example() {
    let (fixed, suits) = (cache(&["redis:7"], Phase::Ready), cache(&["nginx:1"], Phase::Ready));
    let (fixed_id, suits_id) = (fixed.id.as_str(), suits.id.as_str());
    let admission = admission(&[fixed.clone(), suits.clone()]);
    know(
        &admission,
        &json!([
            { "name": "pinned-pods", "objectSelector": { "matchLabels": { "pinned": "yes" } },
              "effect": { "annotations": { ID: fixed_id } } },
            { "name": "ml-namespaces", "namespaceSelector": { "matchLabels": { "team": "ml" } },
              "effect": { "annotations": { AUTO: "true", PERFECT: "true" } } },
        ]),
    );
    for (name, labels, images, expected) in [
        (
            "8.1 the example: namespaces labelled team=ml get strict automatic matching",
            json!({}),
            &["nginx:1"][..],
            map(&[(AUTO, "true"), (PERFECT, "true"), (BOUND, suits_id)]),
        ),
        (
            "8.1 the example: strict, so a pod with more gets none",
            json!({}),
            &["nginx:1", "app:1"],
            map(&[(AUTO, "true"), (PERFECT, "true")]),
        ),
        (
            "8.1 the example: a pod that matches both gets all three; the explicit id then wins",
            json!({ "pinned": "yes" }),
            &["nginx:1"],
            map(&[(ID, fixed_id), (AUTO, "true"), (PERFECT, "true"), (BOUND, fixed_id)]),
        ),
    ] {
        let mut asking = pod(&[], images);
        asking["metadata"]["labels"] = labels;
        assert_eq!(annotations(&admission, &asking), expected, "{name}");
    }
}

#[test]
fn effects_count_as_the_pods_own() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let id = ready.id.as_str();
    let admission = admission(std::slice::from_ref(&ready));
    let effect = json!({ "annotations": { OLD_AUTO: "true", AUTO: "true" }, "labels": { "pool": "eci" } });
    know(&admission, &json!([{ "name": "all", "effect": effect }]));
    for (name, own, expected) in [
        (
            "8.1 neither selector given, but an effect: every pod",
            &[][..],
            map(&[(OLD_AUTO, "true"), (AUTO, "true"), (BOUND, id)]),
        ),
        (
            "8.1 no automatic change of the old names: both stay, and the pod's new one counts",
            &[(AUTO, "false")],
            map(&[(OLD_AUTO, "true"), (AUTO, "false")]),
        ),
    ] {
        let asking = pod(own, &["nginx:1"]);
        assert_eq!(annotations(&admission, &asking), expected, "{name}");
        let after = admitted(&asking, &answer(&admission, &question(&asking)));
        assert_eq!(after["metadata"]["labels"]["pool"], "eci", "{name}");
        // 8.1: a match also schedules the pod to ECI. Not here: the rest of the pod stays as it is.
        assert_eq!(after["spec"], asking["spec"], "{name}");
    }
    know(
        &admission,
        &json!([{ "name": "all", "effect": { "annotations": { "note": "second" } } }]),
    );
    assert_eq!(
        annotations(&admission, &pod(&[], &["nginx:1"])),
        map(&[("note", "second")]),
        "8.1 read when pods are created, no restart needed"
    );
    let mut existing = question(&pod(&[], &["nginx:1"]));
    existing["request"]["operation"] = json!("UPDATE");
    assert_eq!(
        patch(&answer(&admission, &existing)),
        json!([]),
        "8.1 existing pods are unaffected until re-created"
    );
}

#[test]
fn tencents_annotations_for_all_pods() {
    let ready = cache(&["nginx:1"], Phase::Ready);
    let other = cache(&["redis:7"], Phase::Ready);
    let (id, other_id) = (ready.id.as_str(), other.id.as_str());
    let admission = admission(&[ready.clone(), other.clone()]);
    let text = format!("{USE}: auto\n{DISK_SIZE}: 50\n");
    admission
        .profiles
        .know_config(EksConfig::parse(&map(&[("pod.annotations", &text)])));
    for (name, own, expected) in [
        (
            "6.4 sets annotations for all pods",
            &[][..],
            map(&[(USE, "auto"), (DISK_SIZE, "50"), (BOUND, id)]),
        ),
        (
            "6.4 an annotation on the pod wins",
            &[(USE, other_id), (DISK_SIZE, "80")],
            map(&[(USE, other_id), (DISK_SIZE, "80"), (BOUND, other_id)]),
        ),
    ] {
        assert_eq!(annotations(&admission, &pod(own, &["nginx:1"])), expected, "{name}");
    }
}
