//! What a cluster's configuration adds to pods: a row for each rule. Sections are those of the fact sheets: 8 is Alibaba's,
//! 6 Tencent's.
//!
//! Alibaba's 8.2, the Selector resource of self-managed clusters, is another thing with other rules, and is not read.

use std::collections::BTreeMap;

use imagecache_core::AlibabaResources;
use imagecache_k8s_api::alibaba::{self, Profile};
use imagecache_k8s_api::pod::{PodMetadata, PodView, request};
use imagecache_k8s_api::tencent::EksConfig;
use imagecache_k8s_api::{Effects, ImageCacheDialect as _};
use proptest::prelude::*;
use serde_json::{Value, json};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn profile(selectors: &Value) -> Profile {
    Profile::parse(&map(&[("selectors", &selectors.to_string())]))
}

fn pod(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> PodMetadata {
    PodMetadata {
        labels: map(labels),
        annotations: map(annotations),
        ..PodMetadata::default()
    }
}

/// An entry that adds the annotation `a: VALUE`.
fn entry(value: &str, namespace: Option<Value>, object: Option<Value>) -> Value {
    let mut entry = json!({ "name": value, "effect": { "annotations": { "a": value } } });
    if let Some(labels) = namespace {
        entry["namespaceSelector"] = json!({ "matchLabels": labels });
    }
    if let Some(labels) = object {
        entry["objectSelector"] = json!({ "matchLabels": labels });
    }
    entry
}

#[test]
fn which_selectors_match() {
    let team = || Some(json!({ "team": "ml" }));
    let pinned = || Some(json!({ "pinned": "yes" }));
    let both_labels = Some(json!({ "team": "ml", "env": "test" }));
    for (name, entry, namespace, labels, matches) in [
        (
            "8.1 both given: both match",
            entry("x", team(), pinned()),
            &[("team", "ml")][..],
            &[("pinned", "yes")][..],
            true,
        ),
        (
            "8.1 both given: only the namespace",
            entry("x", team(), pinned()),
            &[("team", "ml")],
            &[],
            false,
        ),
        (
            "8.1 both given: only the pod",
            entry("x", team(), pinned()),
            &[],
            &[("pinned", "yes")],
            false,
        ),
        // Every pod that is scheduled to ECI, where that is a question; admission sees pods before any scheduler does.
        (
            "8.1 neither given, but an effect: every pod",
            entry("x", None, None),
            &[],
            &[],
            true,
        ),
        (
            "8.1 at least one is needed for scheduling: the namespace alone",
            entry("x", team(), None),
            &[("team", "ml")],
            &[],
            true,
        ),
        (
            "8.1 at least one is needed for scheduling: the pod alone",
            entry("x", None, pinned()),
            &[],
            &[("pinned", "yes")],
            true,
        ),
        (
            "8.1 objectSelector.matchLabels: another value",
            entry("x", None, pinned()),
            &[],
            &[("pinned", "no")],
            false,
        ),
        (
            "8.1 matchLabels, AND: one of two",
            entry("x", both_labels.clone(), None),
            &[("team", "ml")],
            &[],
            false,
        ),
        (
            "8.1 matchLabels, AND: both",
            entry("x", both_labels.clone(), None),
            &[("team", "ml"), ("env", "test")],
            &[],
            true,
        ),
        (
            "8.1 matchLabels, AND: one of two on the pod",
            entry("x", None, both_labels),
            &[],
            &[("env", "test")],
            false,
        ),
        (
            "8.1 matchLabels may be absent: an empty selector selects all, as in Kubernetes",
            entry("x", None, Some(json!({}))),
            &[],
            &[],
            true,
        ),
    ] {
        let found = profile(&json!([entry])).effects(Some(&map(namespace)), &pod(labels, &[]));
        assert_eq!(!found.is_empty(), matches, "{name}");
    }
    let by_namespace = profile(&json!([entry("x", team(), None)]));
    assert!(by_namespace.selects_namespaces());
    assert!(
        by_namespace.effects(None, &pod(&[], &[])).is_empty(),
        "labels that are not known match nothing"
    );
}

/// Only `matchLabels` is documented, and 8.1 expects these to work.
#[test]
fn expressions_select_too() {
    let with = |operator: &str, values: Value| {
        let expression = json!({ "key": "app", "operator": operator, "values": values });
        profile(&json!([{
            "name": "x", "effect": { "annotations": { "a": "x" } }, "objectSelector": { "matchExpressions": [expression] },
        }]))
    };
    for (operator, values, with_web, without) in [
        ("In", json!(["web", "api"]), true, false),
        ("NotIn", json!(["web"]), false, true),
        ("Exists", Value::Null, true, false),
        ("DoesNotExist", Value::Null, false, true),
    ] {
        let profile = with(operator, values);
        assert_eq!(profile.problems(), [], "{operator}");
        let matches = |labels: &[(&str, &str)]| !profile.effects(None, &pod(labels, &[])).is_empty();
        assert_eq!(
            (matches(&[("app", "web")]), matches(&[])),
            (with_web, without),
            "{operator}"
        );
    }
    for (operator, values) in [("In", json!([])), ("Exists", json!(["web"])), ("Near", Value::Null)] {
        assert_eq!(with(operator, values).problems().len(), 1, "{operator}");
    }
}

#[test]
fn all_matching_contribute_and_nothing_is_overwritten() {
    let sheet = profile(&json!([
        { "name": "pinned-pods", "objectSelector": { "matchLabels": { "pinned": "yes" } },
          "effect": { "annotations": { "id": "imc-example", "both": "first" }, "labels": { "l": "first" } } },
        { "name": "ml-namespaces", "namespaceSelector": { "matchLabels": { "team": "ml" } },
          "effect": { "annotations": { "auto": "true", "perfect": "true", "both": "second" }, "labels": { "l": "second" } } },
    ]));
    let ml = map(&[("team", "ml")]);
    for (name, pod, annotations, labels) in [
        (
            "8.1 the example: both match, all of both",
            pod(&[("pinned", "yes")], &[]),
            &[
                ("auto", "true"),
                ("both", "first"),
                ("id", "imc-example"),
                ("perfect", "true"),
            ][..],
            &[("l", "first")][..],
        ),
        (
            "8.1 an effect never overwrites: what the pod has wins",
            pod(&[("pinned", "yes"), ("l", "mine")], &[("auto", "false"), ("both", "")]),
            &[("id", "imc-example"), ("perfect", "true")],
            &[],
        ),
        (
            "8.1 in order: the later one where the earlier does not match",
            pod(&[], &[]),
            &[("auto", "true"), ("both", "second"), ("perfect", "true")],
            &[("l", "second")],
        ),
    ] {
        let expected = Effects {
            annotations: map(annotations),
            labels: map(labels),
        };
        let effects = sheet.effects(Some(&ml), &pod);
        assert_eq!(effects, expected, "{name}");
        let mut view = PodView {
            metadata: pod.clone(),
            ..PodView::default()
        };
        effects.apply(&mut view);
        assert!(
            pod.annotations
                .iter()
                .all(|(key, value)| view.metadata.annotations[key] == *value)
        );
        assert!(
            sheet.effects(Some(&ml), &view.metadata).is_empty(),
            "{name}: the second time nothing is left to add"
        );
    }
}

/// 8.1: no automatic change of the old names. Both stay, and for a pod that has both the new one counts (5.1).
#[test]
fn an_old_name_and_a_new_one_both_stay() {
    const NEW: &str = "k8s.aliyun.com/eci-auto-imc";
    const OLD: &str = "k8s.aliyun.com/eci-image-cache";
    for (name, effect, own, asks) in [
        ("8.1 old in the effect, new on the pod: off", OLD, NEW, false),
        ("8.1 new in the effect, old on the pod: on", NEW, OLD, true),
    ] {
        let found = profile(&json!([{ "name": "x", "effect": { "annotations": { effect: "true" } } }]));
        let mut view: PodView = serde_json::from_value(json!({
            "metadata": { "annotations": { own: "false" } }, "spec": { "containers": [{ "image": "nginx" }] },
        }))
        .unwrap();
        found.effects(None, &view.metadata).apply(&mut view);
        assert_eq!(
            view.metadata.annotations,
            map(&[(effect, "true"), (own, "false")]),
            "{name}"
        );
        assert_eq!(request(&view, None).unwrap().is_some(), asks, "{name}");
    }
}

#[test]
fn a_malformed_selector_is_ignored_alone_and_told() {
    let good = entry("good", None, None);
    for (name, bad, part) in [
        ("8.1 name is required", json!({ "effect": {} }), "name"),
        ("8.1 name is not empty", json!({ "name": " " }), "no name"),
        (
            "8.1 the fields of an entry: a slip in a selector's name",
            json!({ "name": "b", "objectselector": {} }),
            "objectselector",
        ),
        (
            "8.1 the fields of a selector: a slip",
            json!({ "name": "b", "objectSelector": { "matchlabels": {} } }),
            "matchlabels",
        ),
        (
            "8.1 labels are text",
            json!({ "name": "b", "objectSelector": { "matchLabels": { "a": 1 } } }),
            "integer",
        ),
        (
            "8.1 effect.annotations: a name that Kubernetes refuses",
            json!({ "name": "b", "effect": { "annotations": { "a b": "" } } }),
            "`a b`",
        ),
        (
            "8.1 effect.labels: a value that it refuses",
            json!({ "name": "b", "effect": { "labels": { "a": "b c" } } }),
            "`b c`",
        ),
        ("8.1 each entry is an object", json!("text"), "invalid type"),
    ] {
        let profile = profile(&json!([bad, good]));
        let [problem] = profile.problems() else {
            panic!("{name}: {:?}", profile.problems());
        };
        assert!(problem.part.starts_with("selectors[0]"), "{name}: {problem}");
        assert!(problem.message.contains(part), "{name}: {problem}");
        let effects = profile.effects(None, &pod(&[], &[]));
        assert_eq!(effects.annotations, map(&[("a", "good")]), "{name}");
    }
    for text in ["[", "{}", "[] // comment"] {
        let broken = Profile::parse(&map(&[("selectors", text), ("securityGroupId", "sg-a")]));
        assert_eq!(
            broken.problems()[0].part,
            "selectors",
            "8.1 a JSON array without comments: {text}"
        );
        assert_eq!(broken.network().security_group_id.as_deref(), Some("sg-a"), "{text}");
    }
    // 8.1: a match also schedules the pod to ECI. That is the vendor's scheduler's work and none of admission's: an entry
    // without an effect is no mistake, and adds nothing.
    let scheduling = profile(&json!([{ "name": "only-schedules", "objectSelector": { "matchLabels": { "a": "b" } } }]));
    assert_eq!(
        (scheduling.problems(), scheduling.selects_namespaces()),
        (&[][..], false)
    );
    assert!(scheduling.effects(None, &pod(&[("a", "b")], &[])).is_empty());
}

#[test]
fn the_network_is_the_clusters_default() {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    for (name, data, expected) in [
        (
            "8.1 data: all three, in text",
            &[
                ("vSwitchIds", "vsw-a, vsw-b"),
                ("securityGroupId", "sg-a"),
                ("resourceGroupId", "rg-a"),
            ][..],
            AlibabaResources {
                vswitch_ids: ids(&["vsw-a", "vsw-b"]),
                security_group_id: Some("sg-a".to_owned()),
                resource_group_id: Some("rg-a".to_owned()),
                ..AlibabaResources::default()
            },
        ),
        (
            "8.1 vswitchIds: the spelling of 2021",
            &[("vswitchIds", "vsw-c"), ("resourceGroupId", " ")],
            AlibabaResources {
                vswitch_ids: ids(&["vsw-c"]),
                ..AlibabaResources::default()
            },
        ),
        (
            "8.1 accept both: where both are there, today's counts",
            &[("vSwitchIds", "vsw-new"), ("vswitchIds", "vsw-old")],
            AlibabaResources {
                vswitch_ids: ids(&["vsw-new"]),
                ..AlibabaResources::default()
            },
        ),
        (
            "8.1 accept both: today's is blank",
            &[("vSwitchIds", ""), ("vswitchIds", "vsw-old")],
            AlibabaResources {
                vswitch_ids: ids(&["vsw-old"]),
                ..AlibabaResources::default()
            },
        ),
        (
            "8.1 data: the vendor's other keys are its own business",
            &[
                ("vpcId", "vpc-a"),
                ("enableClusterIp", "true"),
                ("enableHybridMode", "false"),
                ("enableLinuxArm64Node", "true"),
                ("enableLogController", "true"),
                ("slsMachineGroup", "m"),
                ("enablePVCController", "true"),
                ("enablePrivateZone", "false"),
                ("enableReuseSSLKey", "true"),
                ("featureGates", "A=true"),
            ],
            AlibabaResources::default(),
        ),
    ] {
        let found = Profile::parse(&map(data));
        assert_eq!(found.network(), &expected, "{name}");
        assert_eq!(found.problems(), [], "{name}");
    }
    assert_eq!(Profile::parse(&map(&[])), Profile::default());
}

/// 8.1: network values on an ImageCache win over the profile's. Those on a pod are for the pod's own network, which is the
/// vendor's: no build takes anything from them.
#[test]
fn what_an_image_cache_says_wins_over_the_profile() {
    let defaults = Profile::parse(&map(&[
        ("vSwitchIds", "vsw-default"),
        ("securityGroupId", "sg-default"),
        ("resourceGroupId", "rg-default"),
    ]));
    for (name, annotations, expected) in [
        ("8.1 nothing said", &[][..], ["vsw-default", "sg-default", "rg-default"]),
        (
            "8.1 vswitch-ids",
            &[("vswitch-ids", "vsw-own")],
            ["vsw-own", "sg-default", "rg-default"],
        ),
        (
            "8.1 security-group-id",
            &[("security-group-id", "sg-own")],
            ["vsw-default", "sg-own", "rg-default"],
        ),
        (
            "8.1 resource-group-id",
            &[("resource-group-id", "rg-own")],
            ["vsw-default", "sg-default", "rg-own"],
        ),
        (
            "8.1 the pod's own annotations mean nothing here",
            &[("eci-vswitch", "vsw-pod"), ("eci-security-group", "sg-pod")],
            ["vsw-default", "sg-default", "rg-default"],
        ),
    ] {
        let annotations: BTreeMap<String, &str> = annotations
            .iter()
            .map(|(name, value)| (format!("k8s.aliyun.com/{name}"), *value))
            .collect();
        let object: alibaba::ImageCache = serde_json::from_value(json!({
            "apiVersion": "eci.alibabacloud.com/v1", "kind": "ImageCache",
            "metadata": { "name": "web", "annotations": annotations }, "spec": { "images": ["nginx"] },
        }))
        .unwrap();
        let mut found = object.request().unwrap().spec.options.alibaba;
        found.fill(defaults.network());
        let [vswitch, group, resource_group] = expected.map(str::to_owned);
        let expected = AlibabaResources {
            vswitch_ids: vec![vswitch],
            security_group_id: Some(group),
            resource_group_id: Some(resource_group),
            ..AlibabaResources::default()
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn tencents_annotations_for_all_pods() {
    let config = |text: &str| EksConfig::parse(&map(&[("pod.annotations", text)]));
    let text = "eks.tke.cloud.tencent.com/use-image-cache: auto\neks.tke.cloud.tencent.com/image-cache-disk-size: 50\nflag: true\n";
    let size = ("eks.tke.cloud.tencent.com/image-cache-disk-size", "50");
    let auto = ("eks.tke.cloud.tencent.com/use-image-cache", "auto");
    for (name, own, expected) in [
        (
            "6.4 sets annotations for all pods",
            &[][..],
            &[size, auto, ("flag", "true")][..],
        ),
        ("6.4 an annotation on the pod wins", &[("flag", "mine")], &[size, auto]),
        (
            "6.4 an annotation on the pod wins, also the one that chooses",
            &[("eks.tke.cloud.tencent.com/use-image-cache", "imc-a")],
            &[size, ("flag", "true")],
        ),
        (
            "6.4 an annotation on the pod wins, also an empty one",
            &[("flag", "")],
            &[size, auto],
        ),
    ] {
        let found = config(text).effects(&pod(&[], own));
        assert_eq!(found.annotations, map(expected), "{name}");
        assert_eq!(found.labels, map(&[]), "{name}");
    }
    let elsewhere = EksConfig::parse(&map(&[("annotations", text), ("pod.labels", text)]));
    assert_eq!(elsewhere, EksConfig::default(), "6.4 the key is pod.annotations");
    for (name, text, problems, left) in [
        ("6.4 absent", "", 0, 0),
        ("6.4 a YAML map as text: a list", "- a", 1, 0),
        ("6.4 a YAML map as text: no YAML", "a: [", 1, 0),
        ("6.4 a YAML map as text: one bad name", "a b: c\nd: e", 1, 1),
        ("6 all values are strings: one that is a map", "a: {}\nd: e", 1, 1),
    ] {
        let config = config(text);
        let added = config.effects(&pod(&[], &[])).annotations.len();
        assert_eq!(
            (config.problems().len(), added),
            (problems, left),
            "{name}: {:?}",
            config.problems()
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_a_profile(text in ".{0,200}", value in any::<String>()) {
        for data in [map(&[("selectors", &text)]), map(&[("pod.annotations", &text)])] {
            let _ = EksConfig::parse(&data).effects(&pod(&[], &[]));
            let _ = Profile::parse(&data).effects(None, &pod(&[("a", &value)], &[]));
        }
        let entry = json!([{ "name": "x", "effect": { "annotations": { "a": value.clone() }, "labels": { value: "b" } } }]);
        let _ = profile(&entry).effects(None, &pod(&[], &[]));
    }
}
