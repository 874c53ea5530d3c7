//! The ConfigMap `eci-profile`: the network that builds use where their object names none, and what is added to pods
//! ("Configure eci-profile", 2025-05).

use std::borrow::Cow;
use std::collections::BTreeMap;

use imagecache_core::AlibabaResources;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube_core::{Selector, SelectorExt as _};
use serde::Deserialize;
use serde_json::Value;

use crate::effects::{Effects, MAX_POD_BYTES, Problem, check_name};
use crate::parse;
use crate::pod::PodMetadata;

/// Both spellings are documented; the second is that of 2021.
const VSWITCH_IDS: [&str; 2] = ["vSwitchIds", "vswitchIds"];
const SECURITY_GROUP_ID: &str = "securityGroupId";
const RESOURCE_GROUP_ID: &str = "resourceGroupId";
const SELECTORS: &str = "selectors";

/// A profile that was read: its selectors in order, without those that are malformed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    network: AlibabaResources,
    rules: Vec<Rule>,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    namespace: Option<Selector>,
    object: Option<Selector>,
    effects: Effects,
}

/// One entry of `selectors` as it is written. A field that is not known may be a slip in one that narrows the selector, so it
/// makes the entry malformed: it would else apply to every pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    namespace_selector: Option<WrittenSelector>,
    #[serde(default)]
    object_selector: Option<WrittenSelector>,
    #[serde(default)]
    effect: Option<WrittenEffect>,
}

/// Only `matchLabels` is documented. The vendor hands selectors to a webhook configuration, where both work.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenSelector {
    #[serde(default)]
    match_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: Option<Vec<String>>,
}

/// Other effects than these two are the vendor's business.
#[derive(Default, Deserialize)]
struct WrittenEffect {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Profile {
    /// Reads the ConfigMap's `data`. What is malformed is left out and told in [`problems`](Self::problems).
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let mut profile = Self {
            network: profile_defaults(data),
            ..Self::default()
        };
        let text = data.get(SELECTORS).map(|text| text.trim()).unwrap_or_default();
        if text.is_empty() {
            return profile;
        }
        let entries: Vec<Value> = match serde_json::from_str(text) {
            Ok(entries) => entries,
            Err(error) => {
                profile.problems.push(Problem {
                    part: SELECTORS.to_owned(),
                    message: format!("it is not a JSON array, which has no comments: {error}"),
                });
                return profile;
            }
        };
        for (index, entry) in entries.into_iter().enumerate() {
            let name = entry.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            match rule(entry) {
                Ok(rule) => profile.rules.extend(rule),
                Err(message) => profile.problems.push(Problem {
                    part: format!("{SELECTORS}[{index}] `{name}`"),
                    message,
                }),
            }
        }
        let together: usize = profile.rules.iter().map(|rule| rule.effects.bytes()).sum();
        if together > MAX_POD_BYTES {
            let (together, most) = (together.div_ceil(1024), MAX_POD_BYTES / 1024);
            profile.problems.push(Problem {
                part: SELECTORS.to_owned(),
                message: format!(
                    "together they add {together} KiB, and an effect with which a pod would have more than {most} KiB of \
                     annotations and labels is too much for it"
                ),
            });
        }
        profile
    }

    /// The network for builds that name none.
    pub fn network(&self) -> &AlibabaResources {
        &self.network
    }

    /// What was malformed, and is ignored.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether any selector looks at the labels of namespaces.
    pub fn selects_namespaces(&self) -> bool {
        self.rules.iter().any(|rule| rule.namespace.is_some())
    }

    /// What to add to `pod`: all matching selectors contribute in their order, and what the pod or an earlier one has stays. A
    /// selector whose effect would be too much for the pod contributes nothing. Labels that are added count for selectors as the
    /// pod's own do: else a pod that is admitted a second time would be given more.
    ///
    /// `namespace` are the labels of its namespace; `None` when they are not known, and then no selector that looks at them
    /// matches.
    pub fn effects(&self, namespace: Option<&BTreeMap<String, String>>, pod: &PodMetadata) -> Effects {
        let mut effects = Effects::default();
        loop {
            let known = effects.labels.len();
            let mut labels = Cow::Borrowed(&pod.labels);
            if known > 0 {
                labels.to_mut().extend(effects.labels.clone());
            }
            for rule in &self.rules {
                let in_namespace = rule
                    .namespace
                    .as_ref()
                    .is_none_or(|selector| namespace.is_some_and(|labels| selector.matches(labels)));
                let is_object = rule.object.as_ref().is_none_or(|selector| selector.matches(&labels));
                if in_namespace && is_object {
                    effects.add(&rule.effects, pod);
                }
            }
            if effects.labels.len() == known {
                return effects;
            }
        }
    }
}

/// The rule that an entry is; `None` for one without an effect, which only schedules pods.
fn rule(entry: Value) -> Result<Option<Rule>, String> {
    let entry: Entry = serde_json::from_value(entry).map_err(|error| error.to_string())?;
    if entry.name.trim().is_empty() {
        return Err("it has no name, give it one".to_owned());
    }
    let effect = entry.effect.unwrap_or_default();
    let effects = Effects {
        annotations: effect.annotations.unwrap_or_default(),
        labels: effect.labels.unwrap_or_default(),
    };
    effects.check()?;
    let rule = Rule {
        namespace: entry.namespace_selector.map(selector).transpose()?,
        object: entry.object_selector.map(selector).transpose()?,
        effects,
    };
    Ok((!rule.effects.is_empty()).then_some(rule))
}

fn selector(written: WrittenSelector) -> Result<Selector, String> {
    let requirements = written.match_expressions.unwrap_or_default();
    let labels = written.match_labels.unwrap_or_default();
    for key in labels
        .keys()
        .chain(requirements.iter().map(|requirement| &requirement.key))
    {
        check_name(key)?;
    }
    let requirement = |requirement: Requirement| {
        let values = requirement.values.filter(|values| !values.is_empty());
        let takes_values = matches!(requirement.operator.as_str(), "In" | "NotIn");
        if takes_values != values.is_some() {
            let (key, operator) = (requirement.key, requirement.operator);
            return Err(format!(
                "the expression `{key} {operator}` is none, write In or NotIn with values, Exists or DoesNotExist without"
            ));
        }
        Ok(LabelSelectorRequirement {
            key: requirement.key,
            operator: requirement.operator,
            values,
        })
    };
    let requirements = requirements.into_iter().map(requirement).collect::<Result<_, _>>()?;
    let selector = LabelSelector {
        match_labels: Some(labels),
        match_expressions: Some(requirements),
    };
    Selector::try_from(selector).map_err(|error| error.to_string())
}

/// What the profile's `data` gives to builds.
fn profile_defaults(data: &BTreeMap<String, String>) -> AlibabaResources {
    let text = |key: &str| {
        let text = data.get(key).map(|text| text.trim());
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let vswitches = VSWITCH_IDS.into_iter().find_map(text);
    AlibabaResources {
        vswitch_ids: vswitches.map(|list| parse::list(&list)).unwrap_or_default(),
        security_group_id: text(SECURITY_GROUP_ID),
        resource_group_id: text(RESOURCE_GROUP_ID),
        ..AlibabaResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(selectors: &Value) -> Profile {
        Profile::parse(&[(SELECTORS.to_owned(), selectors.to_string())].into())
    }

    #[test]
    fn a_second_time_nothing_is_added_also_where_labels_select() {
        let rule = |name: &str, labels: &str, effect: Value| serde_json::json!({ "name": name, "objectSelector": { "matchLabels": { labels: "x" } }, "effect": effect });
        let profile = profile(&serde_json::json!([
            rule("last", "b", serde_json::json!({ "annotations": { "c": "x" } })),
            rule("first", "a", serde_json::json!({ "labels": { "b": "x" } })),
        ]));
        let mut pod = PodMetadata {
            labels: [("a".to_owned(), "x".to_owned())].into(),
            ..PodMetadata::default()
        };
        let effects = profile.effects(None, &pod);
        assert_eq!((effects.annotations.len(), effects.labels.len()), (1, 1));
        pod.labels.extend(effects.labels);
        pod.annotations.extend(effects.annotations);
        assert!(profile.effects(None, &pod).is_empty());
    }

    #[test]
    fn selectors_that_are_too_much_together_are_told_and_apply_one_by_one() {
        let rule = |name: usize| {
            let annotations = serde_json::json!({ format!("a{name}"): "x".repeat(60 * 1024) });
            serde_json::json!({ "name": name.to_string(), "effect": { "annotations": annotations } })
        };
        let of = |count: usize| profile(&(0..count).map(rule).collect());
        assert_eq!(of(4).problems(), []);
        let large = of(5);
        let [problem] = large.problems() else {
            panic!("{:?}", large.problems());
        };
        assert!(
            problem.message.contains("301 KiB") && problem.message.contains("255 KiB"),
            "{problem}"
        );
        let names: Vec<_> = large
            .effects(None, &PodMetadata::default())
            .annotations
            .into_keys()
            .collect();
        assert_eq!(names, ["a0", "a1", "a2", "a3"]);
    }
}
