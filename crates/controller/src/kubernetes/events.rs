//! Kubernetes events about our objects: one for each thing that happened, counted when it happens again.
//!
//! They are `core/v1` events, not `events.k8s.io/v1`: Kubernetes before 1.25 takes newer ones about objects without a namespace
//! only in `kube-system`, and its kubectl shows no age for them. Both APIs show the same events anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use imagecache_core::{Digest, EventSeverity};
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

/// Longest name of an object (Kubernetes).
const MAX_NAME_BYTES: usize = 253;
/// Characters of a digest that tell two events about one object apart.
const ONCE_CHARS: usize = 16;

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) severity: EventSeverity,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
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

/// Publishes `notice` about `regarding` unless something was published with the same `once`, by whomever: that is in the
/// event's name, and a second event of that name is refused. Holds for as long as Kubernetes keeps events, mostly an hour.
///
/// # Errors
///
/// When it could not be published and may be later. What never can is logged, and that is all.
pub(crate) async fn publish_once(
    client: &Client,
    regarding: &ObjectReference,
    once: &str,
    notice: &Notice,
) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), regarding.namespace.as_deref().unwrap_or(NAMESPACE));
    let uid = regarding.uid.as_deref().unwrap_or_default();
    let digest = Digest::sha256_of(format!("{uid} {once}").as_bytes());
    let suffix = digest.hex().get(..ONCE_CHARS).unwrap_or_default();
    match api
        .create(&PostParams::default(), &event(regarding, notice, suffix))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => {
            cannot_publish(&error, notice);
            if is_transient(&error) { Err(error) } else { Ok(()) }
        }
    }
}

/// Whether a request to the API server may succeed later as it is.
pub(crate) fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}

async fn create(api: &Api<Event>, regarding: &ObjectReference, notice: &Notice) -> Option<Series> {
    let event = event(regarding, notice, &format!("{:x}", Timestamp::now().as_nanosecond()));
    match api.create(&PostParams::default(), &event).await {
        Ok(created) => Some(Series {
            name: created.metadata.name?,
            count: 1,
            last: Instant::now(),
        }),
        Err(error) => {
            cannot_publish(&error, notice);
            None
        }
    }
}

fn cannot_publish(error: &kube::Error, notice: &Notice) {
    let error = error as &dyn std::error::Error;
    warn!(error, reason = notice.reason, "cannot publish an event");
}

/// The event, named after its object and `suffix`.
fn event(regarding: &ObjectReference, notice: &Notice, suffix: &str) -> Event {
    let now = Timestamp::now();
    let object = regarding.name.as_deref().unwrap_or(REPORTER);
    let start = object.floor_char_boundary(MAX_NAME_BYTES.saturating_sub(suffix.len() + 1));
    let start = object.get(..start).unwrap_or_default().trim_end_matches(['-', '.']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{start}.{suffix}")),
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
