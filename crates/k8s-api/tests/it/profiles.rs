//! What a cluster's configuration adds to pods: a row for each rule. Sections are those of the fact sheets.

use std::collections::BTreeMap;

use imagecache_core::AlibabaResources;
use imagecache_k8s_api::Effects;
use imagecache_k8s_api::alibaba::Profile;
use imagecache_k8s_api::pod::{PodMetadata, PodView};
use imagecache_k8s_api::tencent::EksConfig;
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
        ("8.1 neither given: every pod", entry("x", None, None), &[], &[], true),
        (
            "8.1 the namespace alone",
            entry("x", team(), None),
            &[("team", "ml")],
            &[],
            true,
        ),
        (
            "8.1 the pod alone",
            entry("x", None, pinned()),
            &[],
            &[("pinned", "yes")],
            true,
        ),
        (
            "8.1 another value",
            entry("x", None, pinned()),
            &[],
            &[("pinned", "no")],
            false,
        ),
        (
            "8.1 labels are joined with AND",
            entry("x", both_labels.clone(), None),
            &[("team", "ml")],
            &[],
            false,
        ),
        (
            "8.1 labels are joined with AND",
            entry("x", both_labels, None),
            &[("team", "ml"), ("env", "test")],
            &[],
            true,
        ),
        (
            "an empty selector selects all, as in Kubernetes",
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
            "8.1 what the pod has wins",
            pod(&[("pinned", "yes"), ("l", "mine")], &[("auto", "false"), ("both", "")]),
            &[("id", "imc-example"), ("perfect", "true")],
            &[],
        ),
        (
            "8.1 the later one where the earlier does not match",
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

#[test]
fn a_malformed_selector_is_ignored_alone_and_told() {
    let good = entry("good", None, None);
    for (name, bad, part) in [
        ("no name", json!({ "effect": {} }), "name"),
        ("blank name", json!({ "name": " " }), "no name"),
        (
            "a slip in a selector's name",
            json!({ "name": "b", "objectselector": {} }),
            "objectselector",
        ),
        (
            "a slip in a selector",
            json!({ "name": "b", "objectSelector": { "matchlabels": {} } }),
            "matchlabels",
        ),
        (
            "a number for a label",
            json!({ "name": "b", "objectSelector": { "matchLabels": { "a": 1 } } }),
            "integer",
        ),
        (
            "a name that Kubernetes refuses",
            json!({ "name": "b", "effect": { "annotations": { "a b": "" } } }),
            "`a b`",
        ),
        (
            "a label's value that it refuses",
            json!({ "name": "b", "effect": { "labels": { "a": "b c" } } }),
            "`b c`",
        ),
        ("no object", json!("text"), "invalid type"),
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
        assert_eq!(broken.problems()[0].part, "selectors", "{text}");
        assert_eq!(broken.network().security_group_id.as_deref(), Some("sg-a"), "{text}");
    }
    let scheduling = profile(&json!([{ "name": "only-schedules", "objectSelector": { "matchLabels": { "a": "b" } } }]));
    assert_eq!(
        (scheduling.problems(), scheduling.selects_namespaces()),
        (&[][..], false)
    );
}

#[test]
fn the_network_in_both_spellings() {
    let full = Profile::parse(&map(&[
        ("vpcId", "vpc-a"),
        ("vSwitchIds", "vsw-a, vsw-b"),
        ("securityGroupId", "sg-a"),
        ("resourceGroupId", " "),
        ("selectors", "[]"),
    ]));
    let expected = AlibabaResources {
        vswitch_ids: vec!["vsw-a".to_owned(), "vsw-b".to_owned()],
        security_group_id: Some("sg-a".to_owned()),
        ..AlibabaResources::default()
    };
    assert_eq!(full.network(), &expected);
    let old = Profile::parse(&map(&[("vswitchIds", "vsw-c")]));
    assert_eq!(old.network().vswitch_ids, ["vsw-c"], "8.1 the spelling of 2021");
    assert_eq!(Profile::parse(&map(&[])), Profile::default());
}

#[test]
fn tencents_annotations_for_all_pods() {
    let config = |text: &str| EksConfig::parse(&map(&[("pod.annotations", text)]));
    let text = "eks.tke.cloud.tencent.com/use-image-cache: auto\neks.tke.cloud.tencent.com/image-cache-disk-size: 50\nflag: true\n";
    let found = config(text).effects(&pod(&[], &[("flag", "mine")]));
    let expected = [
        ("eks.tke.cloud.tencent.com/image-cache-disk-size", "50"),
        ("eks.tke.cloud.tencent.com/use-image-cache", "auto"),
    ];
    assert_eq!(found.annotations, map(&expected), "6.4 an annotation on the pod wins");
    for (name, text, problems, left) in [
        ("absent", "", 0, 0),
        ("a list", "- a", 1, 0),
        ("no YAML", "a: [", 1, 0),
        ("one bad name", "a b: c\nd: e", 1, 1),
        ("one bad value", "a: {}\nd: e", 1, 1),
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
