//! What a cluster's configuration adds to pods: annotations and labels, never in the place of what is there.

use std::collections::BTreeMap;
use std::fmt;

use crate::pod::{PodMetadata, PodView};

/// Longest prefix of a name of an annotation or a label (Kubernetes, DNS subdomain).
const MAX_PREFIX_BYTES: usize = 253;
/// Longest name after the prefix, and longest value of a label.
const MAX_NAME_BYTES: usize = 63;
const KIB: usize = 1024;
/// Most that all annotations of an object may have together, names and values (Kubernetes); a pod with more is refused.
const MAX_POD_ANNOTATION_BYTES: usize = 256 * KIB;
/// Most that one entry of a configuration may add to a pod: a quarter of that.
const MAX_BYTES: usize = 64 * KIB;
/// Most that a pod has with all that was added, its own included; the rest is for the annotation that names its cache.
pub(crate) const MAX_POD_BYTES: usize = MAX_POD_ANNOTATION_BYTES - KIB;

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

    /// Takes what neither `pod` nor anything earlier has; all of `later` or nothing of it, when it would be too much for the pod.
    pub fn add(&mut self, later: &Self, pod: &PodMetadata) {
        let missing =
            |theirs: &BTreeMap<String, String>, mine: &BTreeMap<String, String>, later: &BTreeMap<String, String>| {
                let is_new = |name: &String| !theirs.contains_key(name) && !mine.contains_key(name);
                let new = later.iter().filter(|(name, _)| is_new(name));
                new.map(|(name, value)| (name.clone(), value.clone())).collect()
            };
        let new = Self {
            annotations: missing(&pod.annotations, &self.annotations, &later.annotations),
            labels: missing(&pod.labels, &self.labels, &later.labels),
        };
        // Of what the pod has and what is new, not of what was ever added: so the second time comes to the same.
        let own = bytes(&pod.annotations) + bytes(&pod.labels);
        if own + self.bytes() + new.bytes() <= MAX_POD_BYTES {
            self.annotations.extend(new.annotations);
            self.labels.extend(new.labels);
        }
    }

    /// Whether a pod with these annotations is still taken by the API server with what is added here.
    pub fn fit(&self, pod: &PodMetadata) -> bool {
        let kept = pod
            .annotations
            .iter()
            .filter(|(name, _)| !self.annotations.contains_key(*name));
        let kept: usize = kept.map(|(name, value)| name.len() + value.len()).sum();
        kept + bytes(&self.annotations) <= MAX_POD_ANNOTATION_BYTES
    }

    /// How much it adds to a pod.
    pub(crate) fn bytes(&self) -> usize {
        bytes(&self.annotations) + bytes(&self.labels)
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
        if self.bytes() > MAX_BYTES {
            return Err(format!("it adds more than {} KiB to a pod", MAX_BYTES / KIB));
        }
        Ok(())
    }
}

fn bytes(texts: &BTreeMap<String, String>) -> usize {
    texts.iter().map(|(name, value)| name.len() + value.len()).sum()
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

    fn annotated(name: &str, bytes: usize) -> Effects {
        Effects {
            annotations: [(name.to_owned(), "x".repeat(bytes - name.len()))].into(),
            ..Effects::default()
        }
    }

    #[test]
    fn all_effects_together_leave_a_pod_that_kubernetes_takes() {
        for (row, own, sizes, taken) in [
            ("up to the limit", 0, vec![60, 60, 60, 60, 15], vec![0, 1, 2, 3, 4]),
            (
                "beyond it, a later small one still fits",
                0,
                vec![60, 60, 60, 60, 60, 10],
                vec![0, 1, 2, 3, 5],
            ),
            ("the pod's own count", 220, vec![40, 30], vec![1]),
            ("the pod is full", 256, vec![1], vec![]),
        ] {
            let mut pod = PodMetadata::default();
            if own > 0 {
                pod.annotations = annotated("own", own * KIB).annotations;
            }
            let mut all = Effects::default();
            let mut again = Effects::default();
            for (effects, twice) in [(&mut all, false), (&mut again, true)] {
                for (number, kib) in sizes.iter().enumerate() {
                    effects.add(&annotated(&format!("a{number}"), kib * KIB), &pod);
                }
                if !twice {
                    pod.annotations.extend(effects.annotations.clone());
                }
            }
            assert!(again.is_empty(), "{row}: the second time");
            let taken: Vec<_> = taken.into_iter().map(|number| format!("a{number}")).collect();
            assert_eq!(all.annotations.into_keys().collect::<Vec<_>>(), taken, "{row}");
        }
    }

    #[test]
    fn what_a_pod_has_already_counts_once() {
        let pod = PodMetadata {
            annotations: annotated("a", 200 * KIB).annotations,
            ..PodMetadata::default()
        };
        assert!(annotated("a", 256 * KIB).fit(&pod), "it takes the place of the pod's");
        assert!(annotated("b", 56 * KIB).fit(&pod));
        assert!(!annotated("b", 56 * KIB + 1).fit(&pod));
    }
}
