//! What the service says of a cache, in our words. Pure.

use imagecache_cloud_http::build::{self, Patience};
use imagecache_core::{CacheEvent, CacheId, CacheKey, CacheState, Phase, Progress, Retention};
use jiff::Timestamp;

use crate::client::DESCRIBE;
use crate::error::ApiError;
use crate::mark;
use crate::wire::{CacheEntry, EntryEvent};

/// Building.
const PENDING: &str = "Pending";

/// Reasons of the events of a build that goes well, in order and in small letters: the service spells them in more than one
/// way. The service tells no progress, so these do.
const STEPS: [&str; 5] = [
    "diskcreated",
    "ekscicreated",
    "snapcreated",
    "ekscideleted",
    "diskdeleted",
];
/// What gives a build of this cloud a way to the internet.
const WAY_OUT: &str = "NAT gateway, `auto_create_eip` or an existing EIP";

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
    let bad_id = |_| ApiError::bad_id(DESCRIBE, &entry.image_cache_id);
    let id = CacheId::from_vendor(&entry.image_cache_id).map_err(bad_id)?;
    let created_at = begin(entry);
    let events = events(entry, created_at);
    let overdue = overdue_since(entry, created_at, patience, now);
    let last_event_at = events.last().map_or(created_at, |event| event.last_at);
    let phase = phase(entry, &events, overdue.is_some(), patience);
    Ok(CacheState {
        key: key.clone(),
        id,
        // There is no place for it in the service.
        display_name: None,
        progress: progress(&phase, &events),
        activity: None,
        images: build::readable_images(&entry.images),
        resolved: Vec::new(),
        size_gib: entry.image_cache_size,
        content_bytes: None,
        snapshot_id: Some(entry.snapshot_id.clone()).filter(|id| !id.is_empty()),
        created_at,
        updated_at: created_at.max(overdue.unwrap_or(last_event_at)),
        expires_at: expires_at(entry, created_at, last_event_at),
        events,
        layers: Vec::new(),
        phase,
    })
}

/// When the cache was made: the earliest time that is told. Times without a zone may be hours late, and never are early.
fn begin(entry: &CacheEntry) -> Timestamp {
    let events = entry.events.iter().filter_map(|event| event.first_timestamp);
    let told = entry.creation_time.into_iter().chain(events).map(|moment| moment.at);
    told.min().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When the cache goes. A failed one is kept for a day, which is our own rule; for one that stays for ever the service names a
/// day in a hundred years.
fn expires_at(entry: &CacheEntry, created_at: Timestamp, last_event_at: Timestamp) -> Option<Timestamp> {
    if entry.status == build::FAILED {
        return Retention::Forever.expires_at(created_at, Some(last_event_at));
    }
    let days = mark::retention_days(entry)?;
    let told = entry.expire_date_time.filter(|moment| moment.exact);
    told.map(|moment| moment.at)
        .or_else(|| Retention::Days(days).expires_at(created_at, None))
}

fn phase(entry: &CacheEntry, events: &[CacheEvent], overdue: bool, patience: &Patience) -> Phase {
    match entry.status.as_str() {
        PENDING if overdue => patience.given_up(mark::attempt(&entry.tags), events, WAY_OUT),
        PENDING if steps(events) > 0 => Phase::Creating,
        PENDING => Phase::Pending,
        other => patience.phase(other, mark::attempt(&entry.tags), events),
    }
}

/// Since when a running build is overdue, if it is.
fn overdue_since(entry: &CacheEntry, begin: Timestamp, patience: &Patience, now: Timestamp) -> Option<Timestamp> {
    // Without any time nobody can say so.
    let told = entry.status == PENDING && begin > Timestamp::UNIX_EPOCH;
    let due = begin.checked_add(patience.deadline).ok()?;
    (told && now > due).then_some(due)
}

fn progress(phase: &Phase, events: &[CacheEvent]) -> Progress {
    match phase {
        Phase::Ready => Progress::DONE,
        _ => Progress::of(steps(events), STEPS.len() as u64 + 1),
    }
}

/// Steps of a build that are done.
fn steps(events: &[CacheEvent]) -> u64 {
    let told = |step: &&&str| events.iter().any(|event| event.reason.eq_ignore_ascii_case(step));
    STEPS.iter().filter(told).count() as u64
}

/// The events, oldest first.
fn events(entry: &CacheEntry, begin: Timestamp) -> Vec<CacheEvent> {
    build::oldest_first(entry.events.iter().map(|event| one_event(event, begin)).collect())
}

fn one_event(event: &EntryEvent, begin: Timestamp) -> CacheEvent {
    let first = event.first_timestamp.or(event.last_timestamp);
    let first_at = first.map_or(begin, |moment| moment.at);
    let last_at = event.last_timestamp.map(|moment| moment.at);
    build::event(&event.severity, &event.reason, &event.message, first_at, last_at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use imagecache_cloud_http::mark::Tag;
    use imagecache_core::ErrorKind;

    use super::*;
    use crate::wire::Moment;

    const PATIENCE: Patience = Patience {
        deadline: Duration::from_secs(3600),
        attempts: 3,
    };
    const CREATED: &str = "2026-01-02 03:04:05 +0000 UTC";

    fn entry(status: &str, attempt: &str, reasons: &[&str]) -> CacheEntry {
        let event = |reason: &&str| EntryEvent {
            severity: if *reason == "Failed" { "warning" } else { "Normal" }.to_owned(),
            reason: (*reason).to_owned(),
            message: "image pull failed".to_owned(),
            first_timestamp: Moment::parse("2026-01-02 03:05:00 +0000 UTC"),
            last_timestamp: Moment::parse("2026-01-02 03:06:00 +0000 UTC"),
        };
        CacheEntry {
            image_cache_id: "imc-abcd1234".to_owned(),
            status: status.to_owned(),
            creation_time: Moment::parse(CREATED),
            tags: vec![Tag {
                key: "imagecache.dev/attempt".to_owned(),
                value: attempt.to_owned(),
            }],
            events: reasons.iter().map(event).collect(),
            ..CacheEntry::default()
        }
    }

    fn state_after(entry: &CacheEntry, minutes: i64) -> CacheState {
        let now = Moment::parse(CREATED).unwrap().at + SignedDuration::from_mins(minutes);
        state(entry, &"k".parse().unwrap(), &PATIENCE, now).unwrap()
    }

    #[test]
    fn every_status() {
        for (status, minutes, attempt, reasons, expected) in [
            ("Pending", 59, "1", &[][..], "Pending"),
            ("Pending", 59, "1", &["DiskCreated"], "Creating"),
            ("Pending", 61, "1", &[], "Stalled"),
            ("Pending", 61, "2", &["DiskCreated"], "Stalled"),
            ("Pending", 61, "3", &[], "Failed"),
            ("Pending", 61, "nonsense", &[], "Stalled"),
            ("Ready", 1_000_000, "1", &[], "Ready"),
            ("Failed", 1, "1", &["Failed"], "Failed"),
            ("UpdateFailed", 1, "2", &["Failed"], "Stalled"),
            ("UpdateFailed", 1, "3", &["Failed"], "Failed"),
            ("Updating", 1_000_000, "1", &[], "Unknown"),
            ("Whatever", 1, "1", &[], "Unknown"),
            ("", 1, "1", &[], "Unknown"),
        ] {
            let phase = state_after(&entry(status, attempt, reasons), minutes).phase;
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
    fn progress_is_counted_in_steps_however_they_are_spelt() {
        for (reasons, percent) in [
            (&[][..], 0),
            (&["DiskCreated"], 16),
            (&["EksciCreated", "DiskCreated"], 33),
            (&["diskcreated", "EksCiCreated", "DISKCREATED"], 33),
            (&["DiskCreated", "EksCiCreated", "SnapCreated"], 50),
            (&["SomethingNew"], 0),
        ] {
            let state = state_after(&entry("Pending", "1", reasons), 1);
            assert_eq!(state.progress.percent(), percent, "{reasons:?}");
        }
        assert_eq!(state_after(&entry("Ready", "1", &[]), 1).progress, Progress::DONE);
    }

    #[test]
    fn no_cache_looks_older_than_it_is() {
        // China's time without a zone for the cache, UTC for its events: as in the answer of 2021.
        let mut old = entry("Pending", "1", &["DiskCreated"]);
        old.creation_time = Moment::parse("2026-01-02 11:04:59");
        let state = state_after(&old, 1);
        assert_eq!(state.created_at.to_string(), "2026-01-02T03:05:00Z");
        // Only China's time: overdue eight hours late, and never early.
        old.events.clear();
        old.creation_time = Moment::parse("2026-01-02 11:04:05");
        for (minutes, expected) in [(61, "Pending"), (8 * 60 + 61, "Stalled")] {
            assert_eq!(state_after(&old, minutes).phase.as_str(), expected, "{minutes}");
        }
        old.creation_time = None;
        assert_eq!(state_after(&old, 1_000_000).phase.as_str(), "Pending");
    }

    #[test]
    fn expiry_is_told_computed_or_ours() {
        let never = "2126-01-02 03:04:05 +0000 UTC";
        for (status, days, told, expected) in [
            ("Ready", Some(0), never, None),
            ("Ready", None, "", None),
            (
                "Ready",
                Some(7),
                "2026-01-10 00:00:00 +0000 UTC",
                Some("2026-01-10T00:00:00Z"),
            ),
            ("Ready", Some(7), "2026-01-10 00:00:00", Some("2026-01-09T03:04:05Z")),
            ("Ready", Some(7), "", Some("2026-01-09T03:04:05Z")),
            ("Failed", Some(0), never, Some("2026-01-03T03:06:00Z")),
        ] {
            let entry = CacheEntry {
                retention_days: days,
                expire_date_time: Moment::parse(told),
                ..entry(status, "1", &["Failed"])
            };
            let expires_at = state_after(&entry, 1).expires_at.map(|at| at.to_string());
            assert_eq!(expires_at.as_deref(), expected, "{status} {days:?} {told}");
        }
    }

    #[test]
    fn an_entry_with_next_to_nothing_is_still_shown() {
        let entry = CacheEntry {
            image_cache_id: "imc-1".to_owned(),
            images: vec!["nginx:1".to_owned(), "Not An Image".to_owned()],
            ..CacheEntry::default()
        };
        let state = state_after(&entry, 1);
        assert_eq!(state.images, ["nginx:1".parse().unwrap()]);
        assert_eq!(state.phase, Phase::Unknown(String::new()));
        let error = super::state(
            &CacheEntry::default(),
            &"k".parse().unwrap(),
            &PATIENCE,
            Timestamp::UNIX_EPOCH,
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
