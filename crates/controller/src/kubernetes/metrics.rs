//! Counters for Prometheus. Labels come from closed sets; names, ids and messages go to the logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use imagecache_core::Error;

use super::states::Census;

/// Outcome of a call that worked.
const OK: &str = "ok";
/// Outcome of a reconcile pass that did not.
const ERROR: &str = "error";

/// All metrics of the controller.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    reconciles: BTreeMap<(&'static str, &'static str), u64>,
    provider_calls: BTreeMap<(&'static str, &'static str), u64>,
    reviews: BTreeMap<(&'static str, &'static str), u64>,
    status_writes: BTreeMap<&'static str, u64>,
    caches: BTreeMap<&'static str, u64>,
    pods: BTreeMap<PodLabels, u64>,
    automatic: BTreeMap<PodLabels, u64>,
}

/// Dialect, outcome and provider.
type PodLabels = (&'static str, &'static str, &'static str);

impl Metrics {
    fn with(&self, edit: impl FnOnce(&mut Counts)) {
        edit(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a reconcile pass that worked.
    pub(super) fn reconciled(&self, dialect: &'static str) {
        self.with(|counts| *counts.reconciles.entry((dialect, OK)).or_default() += 1);
    }

    /// Counts a reconcile pass that did not.
    pub(super) fn reconcile_failed(&self, dialect: &'static str) {
        self.with(|counts| *counts.reconciles.entry((dialect, ERROR)).or_default() += 1);
    }

    /// Counts a call to the provider.
    pub(super) fn provider_call(&self, operation: &'static str, error: Option<&Error>) {
        let outcome = error.map_or(OK, |error| error.kind().as_str());
        self.with(|counts| *counts.provider_calls.entry((operation, outcome)).or_default() += 1);
    }

    /// Counts an answered admission review.
    pub(crate) fn reviewed(&self, dialect: &'static str, outcome: &'static str) {
        self.with(|counts| *counts.reviews.entry((dialect, outcome)).or_default() += 1);
    }

    /// Counts a status that was written.
    pub(super) fn status_written(&self, dialect: &'static str) {
        self.with(|counts| *counts.status_writes.entry(dialect).or_default() += 1);
    }

    /// Counts a pod that asked for a cache.
    pub(crate) fn matched(&self, dialect: &'static str, outcome: &'static str, provider: &'static str) {
        self.with(|counts| *counts.pods.entry((dialect, outcome, provider)).or_default() += 1);
    }

    /// Counts a cache that was made for a pod, or that could not be.
    pub(crate) fn automatic(&self, dialect: &'static str, outcome: &'static str, provider: &'static str) {
        self.with(|counts| *counts.automatic.entry((dialect, outcome, provider)).or_default() += 1);
    }

    /// Takes the present number of caches.
    pub(super) fn caches(&self, census: &Census) {
        self.with(|counts| counts.caches.clone_from(&census.by_phase));
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let two = |map: &BTreeMap<(&str, &str), u64>, first: &str| {
            let line = |((a, b), n): (&(&str, &str), &u64)| (format!("{first}=\"{a}\",outcome=\"{b}\""), *n);
            map.iter().map(line).collect::<Vec<_>>()
        };
        let pods = |map: &BTreeMap<PodLabels, u64>| {
            let line = |((dialect, outcome, provider), n): (&PodLabels, &u64)| {
                let labels = format!("dialect=\"{dialect}\",outcome=\"{outcome}\",provider=\"{provider}\"");
                (labels, *n)
            };
            map.iter().map(line).collect::<Vec<_>>()
        };
        let one = |map: &BTreeMap<&str, u64>, label: &str| {
            map.iter()
                .map(|(value, n)| (format!("{label}=\"{value}\""), *n))
                .collect::<Vec<_>>()
        };
        let families = [
            (
                "imagecache_reconciles_total",
                "counter",
                "Reconcile passes.",
                two(&counts.reconciles, "dialect"),
            ),
            (
                "imagecache_provider_calls_total",
                "counter",
                "Calls to the provider.",
                two(&counts.provider_calls, "op"),
            ),
            (
                "imagecache_admission_reviews_total",
                "counter",
                "Pods that were asked about when they were created.",
                two(&counts.reviews, "dialect"),
            ),
            (
                "imagecache_status_writes_total",
                "counter",
                "Statuses written.",
                one(&counts.status_writes, "dialect"),
            ),
            (
                "imagecache_pod_matches_total",
                "counter",
                "Pods that asked for a cache, by what they got.",
                pods(&counts.pods),
            ),
            (
                "imagecache_automatic_creations_total",
                "counter",
                "Caches made for pods, and those that could not be made.",
                pods(&counts.automatic),
            ),
            (
                "imagecache_caches",
                "gauge",
                "Caches that the provider keeps.",
                one(&counts.caches, "phase"),
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, rows) in families {
            // Writing to a String cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, number) in rows {
                let _ = writeln!(text, "{name}{{{labels}}} {number}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use imagecache_core::ErrorKind;

    use super::*;

    #[test]
    fn renders_in_the_text_format() {
        let metrics = Metrics::default();
        metrics.provider_call("list", None);
        metrics.provider_call(
            "ensure",
            Some(&Error::new(ErrorKind::RateLimited, "p", "ensure", "slow down")),
        );
        metrics.provider_call("list", None);
        metrics.reconcile_failed("tencent");
        metrics.matched("alibaba", "partial_hit", "local");
        metrics.automatic("alibaba", "created", "local");
        let text = metrics.render();
        for line in [
            "# TYPE imagecache_provider_calls_total counter",
            "imagecache_provider_calls_total{op=\"list\",outcome=\"ok\"} 2",
            "imagecache_provider_calls_total{op=\"ensure\",outcome=\"rate_limited\"} 1",
            "imagecache_reconciles_total{dialect=\"tencent\",outcome=\"error\"} 1",
            "imagecache_pod_matches_total{dialect=\"alibaba\",outcome=\"partial_hit\",provider=\"local\"} 1",
            "imagecache_automatic_creations_total{dialect=\"alibaba\",outcome=\"created\",provider=\"local\"} 1",
            "# TYPE imagecache_caches gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("slow down"));
    }
}
