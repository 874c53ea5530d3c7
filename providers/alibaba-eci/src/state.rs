//! What the service says of a cache, in our words. Pure.

use imagecache_cloud_http::build::{self, Patience};
use imagecache_core::{CacheEvent, CacheId, CacheKey, CacheState, Phase, Progress};
use jiff::Timestamp;

use crate::client::DESCRIBE;
use crate::error::ApiError;
use crate::mark;
use crate::wire::{CacheEntry, EntryEvent};

/// Building: resources are checked, images pulled.
const PREPARING: &str = "Preparing";
/// Building: the snapshot is made.
const CREATING: &str = "Creating";

/// What gives a build of this cloud a way to the internet.
const WAY_OUT: &str = "NAT gateway or public address";

/// The state of the cache `entry`, which carries the key `key`.
///
/// # Errors
///
/// When the service gives an id that is none.
pub(crate) fn state(
    entry: &CacheEntry,
    key: &CacheKey,
    patience: &Patience,
    now: Timestamp,
) -> Result<CacheState, ApiError> {
    let id =
        CacheId::from_vendor(&entry.image_cache_id).map_err(|_| ApiError::bad_id(DESCRIBE, &entry.image_cache_id))?;
    let events = events(entry);
    let overdue = overdue_since(entry, patience, now);
    let created_at = entry.creation_time.unwrap_or(Timestamp::UNIX_EPOCH);
    let last_event_at = events.iter().map(|event| event.last_at).max();
    Ok(CacheState {
        key: key.clone(),
        id,
        display_name: mark::display_name(entry),
        phase: phase(entry, &events, overdue.is_some(), patience),
        progress: progress(&entry.progress),
        activity: None,
        images: build::readable_images(&entry.images),
        resolved: Vec::new(),
        size_gib: entry.image_cache_size,
        content_bytes: None,
        snapshot_id: [&entry.snapshot_id, &entry.flash_snapshot_id]
            .into_iter()
            .find(|id| !id.is_empty())
            .cloned(),
        created_at,
        updated_at: created_at.max(overdue.or(last_event_at).unwrap_or(created_at)),
        expires_at: entry.expire_date_time,
        events,
        layers: Vec::new(),
    })
}

fn phase(entry: &CacheEntry, events: &[CacheEvent], overdue: bool, patience: &Patience) -> Phase {
    match entry.status.as_str() {
        PREPARING | CREATING if overdue => patience.given_up(mark::attempt(&entry.tags), events, WAY_OUT),
        PREPARING => Phase::Pending,
        CREATING => Phase::Creating,
        other => patience.phase(other, mark::attempt(&entry.tags), events),
    }
}

/// Since when a running build is overdue, if it is.
fn overdue_since(entry: &CacheEntry, patience: &Patience, now: Timestamp) -> Option<Timestamp> {
    let running = matches!(entry.status.as_str(), PREPARING | CREATING);
    let due = entry.creation_time?.checked_add(patience.deadline).ok()?;
    (running && now > due).then_some(due)
}

/// Reads `42%`; anything else is no progress.
fn progress(text: &str) -> Progress {
    let number = text.trim().trim_end_matches('%').trim();
    number.parse::<u8>().map_or(Progress::ZERO, Progress::from_percent)
}

/// The events, oldest first.
fn events(entry: &CacheEntry) -> Vec<CacheEvent> {
    let begin = entry.creation_time.unwrap_or(Timestamp::UNIX_EPOCH);
    build::oldest_first(entry.events.iter().map(|event| one_event(event, begin)).collect())
}

fn one_event(event: &EntryEvent, begin: Timestamp) -> CacheEvent {
    let first_at = event.first_timestamp.or(event.last_timestamp).unwrap_or(begin);
    CacheEvent {
        count: event.count.max(1),
        ..build::event(
            &event.severity,
            &event.reason,
            &event.message,
            first_at,
            event.last_timestamp,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use imagecache_cloud_http::mark::Tag;
    use imagecache_core::ErrorKind;

    use super::*;

    const PATIENCE: Patience = Patience {
        deadline: Duration::from_secs(3600),
        attempts: 3,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(status: &str, minutes: i64, attempt: &str) -> (CacheEntry, Timestamp) {
        let created = at("2026-01-02T03:04:05Z");
        let entry = CacheEntry {
            image_cache_id: "imc-2zedemo0000000000001".to_owned(),
            status: status.to_owned(),
            progress: "7%".to_owned(),
            creation_time: Some(created),
            tags: vec![Tag {
                key: "imagecache.dev/attempt".to_owned(),
                value: attempt.to_owned(),
            }],
            ..CacheEntry::default()
        };
        (entry, created.checked_add(SignedDuration::from_mins(minutes)).unwrap())
    }

    fn phase_of(status: &str, minutes: i64, attempt: &str) -> Phase {
        let (entry, now) = entry(status, minutes, attempt);
        state(&entry, &"k".parse().unwrap(), &PATIENCE, now).unwrap().phase
    }

    #[test]
    fn every_status() {
        for (status, minutes, attempt, expected) in [
            ("Preparing", 59, "1", "Pending"),
            ("Preparing", 61, "1", "Stalled"),
            ("Preparing", 61, "2", "Stalled"),
            ("Preparing", 61, "3", "Failed"),
            ("Creating", 59, "1", "Creating"),
            ("Creating", 61, "1", "Stalled"),
            ("Creating", 61, "nonsense", "Stalled"),
            ("Ready", 1_000_000, "1", "Ready"),
            ("Failed", 1, "1", "Failed"),
            ("UpdateFailed", 1, "2", "Stalled"),
            ("UpdateFailed", 1, "3", "Failed"),
            ("Updating", 1_000_000, "1", "Unknown"),
            ("Whatever", 1, "1", "Unknown"),
            ("", 1, "1", "Unknown"),
        ] {
            let phase = phase_of(status, minutes, attempt);
            assert_eq!(
                phase.as_str(),
                expected,
                "{status} after {minutes} min, attempt {attempt}"
            );
            if expected == "Unknown" {
                assert_eq!(phase, Phase::Unknown(status.to_owned()), "the vendor's own word");
            }
        }
    }

    #[test]
    fn progress_texts() {
        for (text, percent) in [
            ("0%", 0),
            ("42%", 42),
            (" 100 % ", 100),
            ("200%", 100),
            ("", 0),
            ("-1%", 0),
            ("x", 0),
        ] {
            assert_eq!(progress(text).percent(), percent, "{text}");
        }
    }

    #[test]
    fn an_entry_with_next_to_nothing_is_still_shown() {
        let entry = CacheEntry {
            image_cache_id: "imc-1".to_owned(),
            images: vec!["nginx:1".to_owned(), "Not An Image".to_owned()],
            ..CacheEntry::default()
        };
        let state = state(&entry, &"k".parse().unwrap(), &PATIENCE, at("2026-01-02T03:04:05Z")).unwrap();
        assert_eq!(state.images, ["nginx:1".parse().unwrap()]);
        assert_eq!(state.phase, Phase::Unknown(String::new()));
        let bad = CacheEntry::default();
        let error = super::state(&bad, &"k".parse().unwrap(), &PATIENCE, Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
