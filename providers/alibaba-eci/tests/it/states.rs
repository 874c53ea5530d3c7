//! What the service says of a cache, and what becomes of caches that hang, fail to update, or are in a state of their own.

use std::time::Duration;

use imagecache_core::{CacheProvider as _, ErrorKind, EventSeverity, Phase, Progress, Retention};
use imagecache_fakes::eci::{BuildEnd, Fault, Pace};
use serde_json::json;

use crate::support::{Cloud, DEADLINE, begin, key, spec};

#[tokio::test]
async fn a_build_is_followed_from_preparing_to_ready() {
    let cloud = Cloud::start().await;
    cloud.fake.set_pace(Pace::After {
        preparing: Duration::from_secs(100),
        creating: Duration::from_secs(100),
    });
    let provider = cloud.open();
    let mut wanted = spec();
    wanted.retention = Retention::Days(7);
    wanted.display_name = Some("web".to_owned());
    let key = key(&wanted);
    let first = provider.ensure(&key, &wanted).await.unwrap();
    assert_eq!(first.id.as_str(), cloud.only_cache().id);
    let mut phases = vec![first.phase];
    for _ in 0..5 {
        cloud.fake.advance(Duration::from_secs(45));
        let state = provider.get(&key).await.unwrap().unwrap();
        if state.phase == Phase::Creating {
            assert!(state.progress > Progress::ZERO && state.progress < Progress::DONE);
            assert!(state.snapshot_id.is_some());
        }
        phases.push(state.phase);
    }
    phases.dedup();
    assert_eq!(phases, [Phase::Pending, Phase::Creating, Phase::Ready]);
    let state = provider.get(&key).await.unwrap().unwrap();
    assert_eq!(state.progress, Progress::DONE);
    assert_eq!(state.display_name.as_deref(), Some("web"));
    assert_eq!(state.created_at.as_second(), cloud.only_cache().created.as_second());
    let lifetime = state.expires_at.unwrap().duration_since(state.created_at);
    assert_eq!(lifetime.as_secs(), 7 * 24 * 3600);
    let reasons: Vec<_> = state.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["Started", "Pulling", "Pulled"], "oldest first");
    assert!(state.events.iter().all(|event| event.severity == EventSeverity::Normal));
}

#[tokio::test]
async fn an_instant_cache_is_ready_before_its_copy_is_done() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let mut wanted = spec();
    wanted.options.flash = Some(true);
    let key = key(&wanted);
    provider.ensure(&key, &wanted).await.unwrap();
    cloud.fake.finish_builds();
    let state = provider.get(&key).await.unwrap().unwrap();
    assert_eq!(state.phase, Phase::Ready);
    assert!(state.progress < Progress::DONE, "{}", state.progress);
    cloud.fake.finish_builds();
    assert_eq!(provider.get(&key).await.unwrap().unwrap().progress, Progress::DONE);
}

#[tokio::test]
async fn states_that_nobody_documents_are_shown_as_they_are() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, state) = begin(&provider).await;
    for word in ["Updating", "Deleting", "ExpiredSoon"] {
        cloud.fake.set_status(state.id.as_str(), word);
        let unknown = Phase::Unknown(word.to_owned());
        assert_eq!(provider.get(&key).await.unwrap().unwrap().phase, unknown);
        assert_eq!(provider.ensure(&key, &spec).await.unwrap().phase, unknown);
    }
    assert_eq!(cloud.fake.creations(), 1);
}

#[tokio::test]
async fn a_failed_update_is_made_again() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, state) = begin(&provider).await;
    cloud.fake.set_status(state.id.as_str(), "UpdateFailed");
    assert!(matches!(
        provider.get(&key).await.unwrap().unwrap().phase,
        Phase::Stalled(_)
    ));
    let updating = provider.ensure(&key, &spec).await.unwrap();
    assert_eq!(updating.phase, Phase::Unknown("Updating".to_owned()));
    assert_eq!(updating.id, state.id);
    assert_eq!(cloud.only_cache().status, "Updating");
    cloud.fake.finish_builds();
    assert_eq!(provider.get(&key).await.unwrap().unwrap().phase, Phase::Ready);
    // It stays ours.
    assert_eq!(provider.list().await.unwrap().len(), 1);

    cloud.fake.set_status(state.id.as_str(), "UpdateFailed");
    let nothing = Fault::Refuse {
        status: 400,
        code: "NoNeedUpdate".to_owned(),
        message: "nothing changed".to_owned(),
    };
    cloud.fake.inject("UpdateImageCache", nothing, 1);
    provider
        .ensure(&key, &spec)
        .await
        .expect("nothing to update is a success");
    assert_eq!(cloud.fake.creations(), 1);
}

#[tokio::test]
async fn a_hanging_build_is_begun_anew_and_fails_at_last() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, first) = begin(&provider).await;
    let mut ids = vec![first.id];
    for attempt in 1..=3 {
        cloud.fake.advance(DEADLINE - Duration::from_secs(5));
        assert_eq!(
            provider.get(&key).await.unwrap().unwrap().phase,
            Phase::Pending,
            "in time"
        );
        cloud.fake.advance(Duration::from_secs(10));
        let state = provider.get(&key).await.unwrap().unwrap();
        let failure = state.phase.failure().unwrap();
        assert_eq!(failure.kind, ErrorKind::Unavailable);
        assert!(failure.message.contains("start to pull images"), "{}", failure.message);
        if attempt == 3 {
            assert!(matches!(state.phase, Phase::Failed(_)), "{:?}", state.phase);
            break;
        }
        assert!(matches!(state.phase, Phase::Stalled(_)), "{:?}", state.phase);
        let again = provider.ensure(&key, &spec).await.unwrap();
        assert_eq!(again.phase, Phase::Pending);
        assert!(!ids.contains(&again.id), "another cache");
        ids.push(again.id);
        let attempt_tag = ("imagecache.dev/attempt".to_owned(), (attempt + 1).to_string());
        assert!(
            cloud.only_cache().tags.contains(&attempt_tag),
            "the old one is gone, the new one counts on"
        );
    }
    let failed = provider.ensure(&key, &spec).await.unwrap();
    assert!(matches!(failed.phase, Phase::Failed(_)));
    assert_eq!(cloud.fake.creations(), 3);
}

#[tokio::test]
async fn a_hanging_build_that_may_not_be_deleted_yet_is_a_conflict() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    cloud.fake.refuse_deletes_while_building(true);
    let (key, spec, _) = begin(&provider).await;
    cloud.fake.advance(DEADLINE + Duration::from_secs(1));
    let error = provider.ensure(&key, &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(provider.delete(&key).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(cloud.fake.creations(), 1);
    cloud.fake.refuse_deletes_while_building(false);
    provider.delete(&key).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 0);
}

#[tokio::test]
async fn a_failure_says_what_the_service_said() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, _, _) = begin(&provider).await;
    cloud.fake.fail_next_build(BuildEnd::Failed {
        reason: "Failed".to_owned(),
        message: "Failed to pull image \"x\": 401 Unauthorized".to_owned(),
    });
    cloud.fake.finish_builds();
    let state = provider.get(&key).await.unwrap().unwrap();
    let failure = state.phase.failure().unwrap();
    assert_eq!(failure.kind, ErrorKind::Unauthenticated);
    assert!(failure.message.contains("401 Unauthorized"), "{}", failure.message);
    assert_eq!(state.events.last().unwrap().severity, EventSeverity::Warning);
    let kept = state.expires_at.unwrap().duration_since(cloud.fake.now());
    assert!(kept.as_hours() >= 23, "kept for a day: {kept:#}");
}

#[tokio::test]
async fn a_deadline_of_ones_own() {
    let cloud = Cloud::start().await;
    let provider = cloud.open_with(Some("x"), json!({"build_deadline": "5m", "build_attempts": 1}));
    let (key, _, _) = begin(&provider).await;
    cloud.fake.advance(Duration::from_secs(301));
    let state = provider.get(&key).await.unwrap().unwrap();
    assert!(
        matches!(&state.phase, Phase::Failed(failure) if failure.message.contains("5m")),
        "{:?}",
        state.phase
    );
}
