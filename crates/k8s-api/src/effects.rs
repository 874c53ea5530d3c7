//! What a cluster's configuration adds to pods: annotations and labels, never in the place of what is there.

use std::collections::BTreeMap;
use std::fmt;

use crate::pod::{PodMetadata, PodView};

/// Longest prefix of a name of an annotation or a label (Kubernetes, DNS subdomain).
const MAX_PREFIX_BYTES: usize = 253;
/// Longest name after the prefix, and longest value of a label.
const MAX_NAME_BYTES: usize = 63;
/// Most that one configuration may add to a pod: a quarter of what Kubernetes lets all annotations of an object have, since
/// a pod with more is refused by the API server.
const MAX_BYTES: usize = 64 * 1024;

/// Annotations and labels to add to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A part of a configuration that cannot be understood and is ignored, alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Which part, for example ``selectors[1] `web` ``.
    pub part: String,
    /// What is wrong with it and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.message)
    }
}

impl Effects {
    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.labels.is_empty()
    }

    /// The pod as it is with these effects; what it has already stays.
    pub fn apply(&self, pod: &mut PodView) {
        for (theirs, ours) in [
            (&mut pod.metadata.annotations, &self.annotations),
            (&mut pod.metadata.labels, &self.labels),
        ] {
            for (name, value) in ours {
                theirs.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }

    /// Takes what neither `pod` nor anything earlier has.
    pub fn add(&mut self, later: &Self, pod: &PodMetadata) {
        for (mine, theirs, later) in [
            (&mut self.annotations, &pod.annotations, &later.annotations),
            (&mut self.labels, &pod.labels, &later.labels),
        ] {
            for (name, value) in later.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
                mine.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }

    /// What of this Kubernetes would refuse, and with it every pod that got it.
    pub(crate) fn check(&self) -> Result<(), String> {
        for name in self.annotations.keys().chain(self.labels.keys()) {
            check_name(name)?;
        }
        for (name, value) in &self.labels {
            if !is_label_value(value) {
                return Err(format!(
                    "`{value}` is no value for the label `{name}`, use at most {MAX_NAME_BYTES} letters, digits, `-`, `_` or `.`"
                ));
            }
        }
        let size = |texts: &BTreeMap<String, String>| texts.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>();
        if size(&self.annotations) + size(&self.labels) > MAX_BYTES {
            return Err(format!("it adds more than {} KiB to a pod", MAX_BYTES / 1024));
        }
        Ok(())
    }
}

/// Whether Kubernetes takes `name` for an annotation or a label.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let (prefix, rest) = match name.split_once('/') {
        Some((prefix, rest)) => (Some(prefix), rest),
        None => (None, name),
    };
    let is_subdomain = |prefix: &str| {
        prefix.len() <= MAX_PREFIX_BYTES
            && prefix.split('.').all(|part| {
                is_bounded(part, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                    && part
                        .bytes()
                        .all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
            })
    };
    if prefix.is_none_or(is_subdomain) && !rest.is_empty() && is_label_value(rest) {
        Ok(())
    } else {
        let shown: String = name.chars().take(MAX_PREFIX_BYTES).collect();
        Err(format!(
            "`{shown}` is no name for an annotation or a label, write prefix/name"
        ))
    }
}

/// Whether Kubernetes takes `value` for a label; empty is fine.
fn is_label_value(value: &str) -> bool {
    value.is_empty()
        || value.len() <= MAX_NAME_BYTES
            && is_bounded(value, |byte| byte.is_ascii_alphanumeric())
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether the first and the last byte are `good`.
fn is_bounded(text: &str, good: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(&good) && bytes.last().copied().is_some_and(&good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kubernetes_takes_is_added() {
        for (name, good) in [
            ("k8s.aliyun.com/eci-auto-imc", true),
            ("plain", true),
            ("a/B_c.d-e", true),
            ("", false),
            ("a/", false),
            ("/a", false),
            ("a/b/c", false),
            ("A.com/x", false),
            ("a..b/x", false),
            ("-a/x", false),
            ("a/x y", false),
            ("a/-x", false),
            (&format!("a/{}", "x".repeat(64)), false),
            (&format!("{}/x", "a".repeat(254)), false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
        let effects = |value: &str| Effects {
            labels: [("a".to_owned(), value.to_owned())].into(),
            annotations: [("a".to_owned(), value.to_owned())].into(),
        };
        assert_eq!(effects("").check(), Ok(()));
        assert!(effects("a b").check().unwrap_err().contains("`a b`"));
        let large = Effects {
            annotations: [("a".to_owned(), "x".repeat(MAX_BYTES))].into(),
            ..Effects::default()
        };
        assert!(large.check().unwrap_err().contains("64 KiB"));
    }
}
