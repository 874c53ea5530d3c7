//! Kubernetes events about our objects: one for each thing that happened, counted when it happens again.
//!
//! They are `core/v1` events, not `events.k8s.io/v1`: Kubernetes before 1.25 takes newer ones about objects without a namespace
//! only in `kube-system`, and its kubectl shows no age for them. Both APIs show the same events anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use imagecache_core::EventSeverity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use super::names::REPORTER;

/// Where events about objects without a namespace live.
const NAMESPACE: &str = "default";
/// An event that happens again within this time is counted; kubectl shows it as a series.
const SERIES_WINDOW: Duration = Duration::from_secs(6 * 60);
/// Longest note that client-go writes, in bytes; the whole of a message is in the status anyway.
const MAX_NOTE_BYTES: usize = 1024;

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) severity: EventSeverity,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// Publishes notices. Unlike kube's recorder it takes two notes for two events, also when their reason is the same.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    recent: Mutex<HashMap<(String, &'static str, String), Series>>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    count: i32,
    last: Instant,
}

impl Publisher {
    /// Publishes `notice` about `regarding`. A failure is logged: an event is never worth a failed pass.
    pub(super) async fn publish(&self, client: &Client, regarding: &ObjectReference, notice: Notice) {
        let api: Api<Event> = Api::namespaced(client.clone(), regarding.namespace.as_deref().unwrap_or(NAMESPACE));
        let uid = regarding.uid.clone().unwrap_or_default();
        let key = (uid, notice.reason, notice.note.clone());
        let result = match self.again(&key) {
            Some(series) => repeat(&api, &series).await.map(|()| Some(series)),
            None => Ok(create(&api, regarding, &notice).await),
        };
        let series = match result {
            Err(kube::Error::Api(status)) if status.code == 404 => create(&api, regarding, &notice).await,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    reason = notice.reason,
                    "cannot count an event"
                );
                None
            }
            Ok(series) => series,
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, series| series.last.elapsed() < SERIES_WINDOW);
        if let Some(series) = series {
            recent.insert(key, series);
        }
    }

    fn again(&self, key: &(String, &'static str, String)) -> Option<Series> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let series = recent.get(key).filter(|series| series.last.elapsed() < SERIES_WINDOW)?;
        Some(Series {
            name: series.name.clone(),
            count: series.count.saturating_add(1),
            last: Instant::now(),
        })
    }
}

async fn create(api: &Api<Event>, regarding: &ObjectReference, notice: &Notice) -> Option<Series> {
    let now = Timestamp::now();
    let object = regarding.name.as_deref().unwrap_or(REPORTER);
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{object}.{:x}", now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        count: Some(1),
        first_timestamp: Some(Time(now)),
        involved_object: regarding.clone(),
        last_timestamp: Some(Time(now)),
        message: Some(shortened(&notice.note)),
        reason: Some(notice.reason.to_owned()),
        reporting_component: Some(REPORTER.to_owned()),
        source: Some(EventSource {
            component: Some(REPORTER.to_owned()),
            host: None,
        }),
        type_: Some(notice.severity.as_str().to_owned()),
        ..Event::default()
    };
    match api.create(&PostParams::default(), &event).await {
        Ok(created) => Some(Series {
            name: created.metadata.name?,
            count: 1,
            last: Instant::now(),
        }),
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                reason = notice.reason,
                "cannot publish an event"
            );
            None
        }
    }
}

async fn repeat(api: &Api<Event>, series: &Series) -> Result<(), kube::Error> {
    let patch = json!({ "count": series.count, "lastTimestamp": Time(Timestamp::now()) });
    api.patch(&series.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(|_| ())
}

fn shortened(note: &str) -> String {
    const MARK: &str = "…";
    if note.len() <= MAX_NOTE_BYTES {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(MAX_NOTE_BYTES - MARK.len());
    format!("{}{MARK}", note.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        for note in ["short".to_owned(), "x".repeat(5000), "é".repeat(5000), "€".repeat(5000)] {
            let cut = shortened(&note);
            assert!(cut.len() <= MAX_NOTE_BYTES, "{} bytes", cut.len());
            assert!(cut == note || cut.ends_with('…'));
        }
    }
}
