//! The ConfigMap `eks-config`: annotations for all pods ("Annotation", 457/44173).

use std::collections::BTreeMap;

use serde_yaml_ng::Value;

use crate::effects::{Effects, Problem};
use crate::pod::PodMetadata;

/// Key of the ConfigMap: a YAML map as text.
const POD_ANNOTATIONS: &str = "pod.annotations";

/// What the ConfigMap gives to every pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EksConfig {
    effects: Effects,
    problems: Vec<Problem>,
}

impl EksConfig {
    /// Reads the ConfigMap's `data`. What is malformed is left out and told in [`problems`](Self::problems).
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let mut config = Self::default();
        let problem = |part: String, message: String| Problem { part, message };
        let text = data.get(POD_ANNOTATIONS).map(String::as_str).unwrap_or_default();
        let entries = match serde_yaml_ng::from_str::<Value>(text) {
            Ok(Value::Mapping(entries)) => entries,
            Ok(Value::Null) => return config,
            Ok(_) => {
                let message = "it is not a YAML map, write one `name: value` a line".to_owned();
                config.problems.push(problem(POD_ANNOTATIONS.to_owned(), message));
                return config;
            }
            Err(error) => {
                let message = format!("it is not YAML: {error}");
                config.problems.push(problem(POD_ANNOTATIONS.to_owned(), message));
                return config;
            }
        };
        for (name, value) in entries {
            let (Some(name), Some(value)) = (scalar(&name), scalar(&value)) else {
                let message = format!("the entry {} is no text", scalar(&name).unwrap_or_default());
                config.problems.push(problem(POD_ANNOTATIONS.to_owned(), message));
                continue;
            };
            let alone = Effects {
                annotations: [(name.clone(), value)].into(),
                ..Effects::default()
            };
            match alone.check() {
                Ok(()) => config.effects.annotations.extend(alone.annotations),
                Err(message) => config
                    .problems
                    .push(problem(format!("{POD_ANNOTATIONS} `{name}`"), message)),
            }
        }
        if let Err(message) = config.effects.check() {
            config.problems.push(problem(POD_ANNOTATIONS.to_owned(), message));
            config.effects = Effects::default();
        }
        config
    }

    /// What was malformed, and is ignored.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What to add to `pod`: an annotation on the pod wins.
    pub fn effects(&self, pod: &PodMetadata) -> Effects {
        let mut effects = Effects::default();
        effects.add(&self.effects, pod);
        effects
    }
}

/// A value as text: YAML takes an unquoted `true` or `50` for more than that.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
