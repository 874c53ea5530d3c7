//! What the service says of a cache, and what becomes of caches that hang, fail to update, or are in a state of their own.

use std::time::Duration;

use imagecache_core::{CacheProvider as _, EventSeverity, Phase, Progress, Retention};
use imagecache_fakes::eci::{Fault, Pace};
use serde_json::json;

use crate::support::{Cloud, begin, key, spec};

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
async fn an_update_that_changes_nothing_is_a_success() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, state) = begin(&provider).await;
    cloud.fake.set_status(state.id.as_str(), "UpdateFailed");
    let nothing = Fault::Refuse {
        status: 400,
        code: "NoNeedUpdate".to_owned(),
        message: "nothing changed".to_owned(),
    };
    cloud.fake.inject("UpdateImageCache", nothing, 1);
    let again = provider.ensure(&key, &spec).await.unwrap();
    assert_eq!(again.id, state.id);
    assert_eq!(cloud.fake.creations(), 1);
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
