//! Counters for Prometheus, and where it finds them. Labels come from closed sets; names and messages go to the logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::report::NodeReport;
use crate::snapshotter::Snapshotter;
use crate::web::{self, Answer, answer};
use crate::wire;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Everything else.
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
/// Upper bounds in seconds: an answer from memory, a mount, one layer hashed, a large image hashed, trouble.
const BUCKETS: [(&str, Duration); 6] = [
    ("0.001", Duration::from_millis(1)),
    ("0.01", Duration::from_millis(10)),
    ("0.1", Duration::from_millis(100)),
    ("1", Duration::from_secs(1)),
    ("10", Duration::from_secs(10)),
    ("+Inf", Duration::MAX),
];
/// How long the book of snapshots may be in use by others before this process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What became of a layer that containerd asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareOutcome {
    /// A cache holds it.
    Cached,
    /// It is pulled.
    Pulled,
    /// The call failed.
    Refused,
}

/// What the mirror answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorOutcome {
    /// A document of an image that anyone may have.
    Public,
    /// One that the caller may have.
    Known,
    /// That credentials are needed.
    Challenged,
    /// The caller may not have it.
    Refused,
    /// No store has it.
    Unknown,
}

impl PrepareOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Pulled => "pulled",
            Self::Refused => "refused",
        }
    }
}

impl MirrorOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Known => "known",
            Self::Challenged => "challenged",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// What is counted while the snapshotter works; the rest is looked up when somebody asks.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    prepares: BTreeMap<&'static str, u64>,
    mirrored: BTreeMap<&'static str, u64>,
    calls: BTreeMap<&'static str, Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    buckets: [u64; BUCKETS.len()],
    total: Duration,
}

impl Metrics {
    /// Counts a layer that containerd asked for.
    pub fn prepared(&self, outcome: PrepareOutcome) {
        *self.counts().prepares.entry(outcome.as_str()).or_default() += 1;
    }

    /// Counts an answer of the mirror.
    pub fn mirrored(&self, outcome: MirrorOutcome) {
        *self.counts().mirrored.entry(outcome.as_str()).or_default() += 1;
    }

    /// Counts an answered call. One of no known method is not counted: its name is the caller's.
    pub fn called(&self, method: &str, took: Duration) {
        let Some(method) = wire::METHODS.iter().find(|known| **known == method) else {
            return;
        };
        let mut counts = self.counts();
        let calls = counts.calls.entry(method).or_default();
        calls.total = calls.total.saturating_add(took);
        for (count, (_, bound)) in calls.buckets.iter_mut().zip(BUCKETS) {
            if took <= bound {
                *count += 1;
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines of one metric: its labels and its number.
type Lines = Vec<(String, String)>;

/// All metrics in Prometheus' text format.
pub fn render(snapshotter: &Snapshotter) -> String {
    let (snapshots, mounted) = snapshotter.size();
    let report = NodeReport::of(snapshotter);
    let verifier = &snapshotter.supply().verifier;
    let mut text = String::new();
    let one = |number: String| vec![(String::new(), number)];
    {
        let counts = snapshotter.metrics().counts();
        let by = |label: &str, map: &BTreeMap<&str, u64>| -> Lines {
            map.iter()
                .map(|(value, count)| (format!("{{{label}=\"{value}\"}}"), count.to_string()))
                .collect()
        };
        family(
            &mut text,
            (
                "imagecache_node_prepares_total",
                "counter",
                "Layers that containerd asked for.",
            ),
            &by("outcome", &counts.prepares),
        );
        family(
            &mut text,
            (
                "imagecache_node_mirror_answers_total",
                "counter",
                "Answers of the registry mirror.",
            ),
            &by("outcome", &counts.mirrored),
        );
        histogram(&mut text, &counts.calls);
    }
    for (name, kind, help, number) in [
        ("snapshots", "gauge", "Snapshots in the book.", snapshots.to_string()),
        (
            "mounted_images",
            "gauge",
            "Layer images that are mounted.",
            mounted.to_string(),
        ),
        (
            "held_images",
            "gauge",
            "Container images that the stores hold.",
            report.image_count.to_string(),
        ),
        (
            "held_layers",
            "gauge",
            "Layers that the stores hold.",
            report.layers.to_string(),
        ),
        (
            "damaged_images",
            "gauge",
            "Layer images that are damaged.",
            report.damaged_count.to_string(),
        ),
        (
            "hashed_bytes_total",
            "counter",
            "Bytes of layer images that were hashed.",
            verifier.hashed().to_string(),
        ),
        (
            "hash_seconds_total",
            "counter",
            "Time that hashing took.",
            seconds(verifier.hash_time()),
        ),
    ] {
        family(
            &mut text,
            (&format!("imagecache_node_{name}"), kind, help),
            &one(number),
        );
    }
    let up = report.sources.iter().map(|source| {
        let up = if source.problem.is_none() { "1" } else { "0" };
        (format!("{{source=\"{}\"}}", escaped(&source.source)), up.to_owned())
    });
    family(
        &mut text,
        (
            "imagecache_node_source_up",
            "gauge",
            "Whether a source of layers can be read.",
        ),
        &up.collect::<Lines>(),
    );
    text
}

fn family(text: &mut String, (name, kind, help): (&str, &str, &str), lines: &[(String, String)]) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (labels, number) in lines {
        let _ = writeln!(text, "{name}{labels} {number}");
    }
}

fn histogram(text: &mut String, calls: &BTreeMap<&'static str, Calls>) {
    let name = "imagecache_node_call_seconds";
    let _ = write!(
        text,
        "# HELP {name} Calls of containerd, by how long the answer took.\n# TYPE {name} histogram\n"
    );
    for (method, calls) in calls {
        for (count, (bound, _)) in calls.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{name}_bucket{{method=\"{method}\",le=\"{bound}\"}} {count}");
        }
        let count = calls.buckets.last().copied().unwrap_or_default();
        let _ = writeln!(text, "{name}_sum{{method=\"{method}\"}} {}", seconds(calls.total));
        let _ = writeln!(text, "{name}_count{{method=\"{method}\"}} {count}");
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

/// As the text format wants the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Listens for the kubelet and Prometheus.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen_metrics(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Error::io("listen on", address.to_string(), error))
}

/// Serves `/metrics` and `/healthz` until `shutdown`.
pub async fn serve_metrics(snapshotter: Arc<Snapshotter>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let handler: web::Handler = Arc::new(move |request| {
        let snapshotter = Arc::clone(&snapshotter);
        Box::pin(async move { respond(snapshotter, &request).await })
    });
    web::serve(listener, handler, shutdown).await;
}

async fn respond(snapshotter: Arc<Snapshotter>, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "only GET is answered\n");
    }
    // Both wait for the lock that every call of containerd needs.
    let work: fn(&Snapshotter) -> Answer = match request.uri().path() {
        "/metrics" => |snapshotter| answer(StatusCode::OK, METRICS_TYPE, render(snapshotter)),
        "/healthz" => |snapshotter| {
            snapshotter.size();
            answer(StatusCode::OK, TEXT_TYPE, "ok\n")
        },
        _ => return answer(StatusCode::NOT_FOUND, TEXT_TYPE, "try /healthz or /metrics\n"),
    };
    let work = tokio::task::spawn_blocking(move || work(&snapshotter));
    match tokio::time::timeout(STUCK_AFTER, work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, "the snapshotter is stuck\n"),
    }
}
