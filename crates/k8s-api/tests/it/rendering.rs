//! What the controller knows becomes the fields that the vendors print, and survives being written and read.

use imagecache_core::{CacheEvent, CacheId, CacheKey, ErrorKind, EventSeverity, Failure, MAX_EVENTS, Progress};
use imagecache_k8s_api::{ImageCacheDialect, Memory, Report, ReportPhase, alibaba, tencent};
use jiff::Timestamp;
use serde_json::{Value, json};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn key(text: &str) -> CacheKey {
    text.parse().unwrap()
}

fn ready() -> Report {
    Report {
        phase: ReportPhase::Ready,
        progress: Progress::DONE,
        problem: None,
        id: Some(CacheId::for_key(&key("a"))),
        snapshot_id: Some("snap-1".into()),
        created_at: Some(at("2026-01-02T03:04:05.678Z")),
        updated_at: Some(at("2026-01-02T03:05:05Z")),
        expires_at: Some(at("2026-02-02T03:04:05.9Z")),
        events: vec![CacheEvent::new(
            EventSeverity::Normal,
            "Ready",
            "done",
            at("2026-01-02T03:05:05Z"),
        )],
        conditions: Vec::new(),
        cost: Some("30 days of keeping costs about 0.2400 CNY".into()),
        observed_generation: Some(3),
        memory: Memory {
            cache_key: Some(key("a")),
            other_keys: vec![key("b")],
            expires_at: None,
            last_matched_at: Some(at("2026-01-03T00:00:00Z")),
        },
    }
}

#[test]
fn alibabas_status_reads_as_published() {
    let status = serde_json::to_value(alibaba::ImageCache::render(&ready())).unwrap();
    for (field, expected) in [
        ("phase", json!("Ready")),
        ("progress", json!("100%")),
        ("imageCacheId", json!(CacheId::for_key(&key("a")).as_str())),
        ("startTime", json!("2026-01-02T03:04:05Z")),
        ("lastUpdatedTime", json!("2026-01-02T03:05:05Z")),
        ("expireDateTime", json!("2026-02-02T03:04:05Z")),
        ("lastMatchedTime", json!("2026-01-03T00:00:00Z")),
        ("estimatedCost", json!("30 days of keeping costs about 0.2400 CNY")),
        ("observedGeneration", json!(3)),
        ("cacheKey", json!("a")),
        ("otherCacheKeys", json!(["b"])),
        ("reason", Value::Null),
    ] {
        assert_eq!(status[field], expected, "{field}");
    }
    let event = &status["events"][0];
    assert_eq!(event["message"], "done");
    assert_eq!(event["type"], "Normal");
    assert_eq!(event["count"], 1);
    assert_eq!(event["timestamp"], "2026-01-02T03:05:05Z");
}

#[test]
fn tencents_status_reads_as_published() {
    let status = serde_json::to_value(tencent::ImageCache::render(&ready())).unwrap();
    assert_eq!(status["imcPhase"], "Ready");
    assert_eq!(status["imcId"], CacheId::for_key(&key("a")).as_str());
    assert_eq!(status["snapshotId"], "snap-1");
}

#[test]
fn each_dialect_has_its_words() {
    for (phase, alibaba_word, tencent_word) in [
        (ReportPhase::Pending, "Pending", "Pending"),
        (ReportPhase::Creating, "Creating", "Pending"),
        (ReportPhase::Ready, "Ready", "Ready"),
        (ReportPhase::Failed, "Failed", "Failed"),
        (ReportPhase::Updating, "Updating", "Updating"),
        (ReportPhase::UpdateFailed, "UpdateFailed", "UpdateFailed"),
        (ReportPhase::Expired, "Expired", "Expired"),
        (ReportPhase::Unknown("Frozen".into()), "Frozen", "Frozen"),
    ] {
        let report = Report { phase, ..ready() };
        assert_eq!(
            alibaba::ImageCache::render(&report).phase,
            alibaba_word,
            "{:?}",
            report.phase
        );
        assert_eq!(
            tencent::ImageCache::render(&report).imc_phase,
            tencent_word,
            "{:?}",
            report.phase
        );
    }
}

#[test]
fn a_problem_is_told() {
    let failure = Failure {
        kind: ErrorKind::NotFound,
        message: "image `x` does not exist".into(),
    };
    let report = Report {
        phase: ReportPhase::Failed,
        problem: Some(failure),
        ..ready()
    };
    let status = alibaba::ImageCache::render(&report);
    assert_eq!(status.common.reason, "NotFound");
    assert_eq!(status.common.message, "image `x` does not exist");
}

#[test]
fn memory_survives_being_written_and_read() {
    fn check<K: ImageCacheDialect>(render: impl Fn(&Report) -> Value, read: impl Fn(Value) -> Memory) {
        let memory = read(render(&ready()));
        assert_eq!(memory.cache_key, Some(key("a")), "{}", K::DIALECT);
        assert_eq!(memory.other_keys, [key("b")], "{}", K::DIALECT);
        assert_eq!(memory.expires_at, Some(at("2026-02-02T03:04:05Z")), "{}", K::DIALECT);
    }
    check::<alibaba::ImageCache>(
        |report| serde_json::to_value(alibaba::ImageCache::render(report)).unwrap(),
        |value| {
            serde_json::from_value::<alibaba::ImageCacheStatus>(value)
                .unwrap()
                .common
                .memory()
        },
    );
    check::<tencent::ImageCache>(
        |report| serde_json::to_value(tencent::ImageCache::render(report)).unwrap(),
        |value| {
            serde_json::from_value::<tencent::ImageCacheStatus>(value)
                .unwrap()
                .common
                .memory()
        },
    );
}

#[test]
fn a_status_of_another_edition_is_read_as_far_as_it_goes() {
    let foreign = json!({
        "phase": "Ready",
        "progress": 100,
        "imageCacheId": "imc-x",
        "events": [{ "metadata": { "name": "e" }, "source": { "component": "kubelet" }, "count": "many" }],
        "conditions": "none",
        "cacheKey": "NOT A KEY",
    });
    let status: alibaba::ImageCacheStatus = serde_json::from_value(foreign).unwrap();
    assert_eq!(
        (status.phase.as_str(), status.image_cache_id.as_str()),
        ("Ready", "imc-x")
    );
    assert_eq!(status.common.memory(), Memory::default());
    assert!(status.common.conditions.is_empty() && status.common.events.is_empty());
}

#[test]
fn only_the_newest_events_are_kept() {
    let event = |n: i64| {
        let at = Timestamp::from_second(1_767_225_600 + n).unwrap();
        CacheEvent::new(EventSeverity::Warning, "Reason", n.to_string(), at)
    };
    let report = Report {
        events: (0..80).map(event).collect(),
        ..ready()
    };
    let events = alibaba::ImageCache::render(&report).common.events;
    assert_eq!(events.len(), MAX_EVENTS);
    assert_eq!(events.last().unwrap().to_core(), Some(event(79)));
    let names: std::collections::BTreeSet<_> = events.iter().map(|event| &event.name).collect();
    assert_eq!(names.len(), events.len(), "names are unique");
}
