//! What the service says of a cache, and what becomes of caches that hang, fail to update, or are in a state of their own.

use std::time::Duration;

use imagecache_core::{CacheProvider as _, ErrorKind, Phase, Progress, Retention};
use imagecache_fakes::tke::{BuildEnd, Shape};
use serde_json::json;

use crate::support::{Cloud, OWNER, begin, key, spec};

#[tokio::test]
async fn a_build_is_followed_to_ready_in_every_shape_of_answers() {
    for (shape, steps) in [(Shape::New, 5), (Shape::Old, 3), (Shape::Fields, 5)] {
        let cloud = Cloud::start().await;
        cloud.fake.set_shape(shape);
        let provider = cloud.open().await;
        let mut wanted = spec();
        wanted.retention = Retention::Days(7);
        let key = key(&wanted);
        let first = provider.ensure(&key, &wanted).await.unwrap();
        assert_eq!(first.id.as_str(), cloud.only_cache().id);
        let state = provider.get(&key).await.unwrap().unwrap();
        assert_eq!(
            (state.phase, state.progress.percent()),
            (Phase::Creating, 33),
            "{shape:?}"
        );
        cloud.fake.advance(Duration::from_secs(10));
        cloud.fake.finish_builds();
        let state = provider.get(&key).await.unwrap().unwrap();
        assert_eq!(
            (&state.phase, state.progress),
            (&Phase::Ready, Progress::DONE),
            "{shape:?}"
        );
        assert_eq!(state.events.len(), steps, "{shape:?}");
        assert_eq!(
            state.events.first().unwrap().reason,
            "DiskCreated",
            "{shape:?}: oldest first"
        );
        assert!(state.snapshot_id.is_some());
        assert_eq!(
            state.created_at.as_second(),
            cloud.only_cache().created.as_second(),
            "{shape:?}"
        );
        let lifetime = state.expires_at.unwrap().duration_since(state.created_at);
        assert_eq!(lifetime.as_secs(), 7 * 24 * 3600, "{shape:?}");
    }
}

#[tokio::test]
async fn a_failed_cache_is_removed_after_its_day_and_made_anew_when_asked() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    cloud.fake.fail_next_build(BuildEnd::Failed {
        reason: "PullFailed".to_owned(),
        message: "manifest unknown".to_owned(),
    });
    let (key, spec, failed) = begin(&provider).await;
    cloud.fake.finish_builds();
    let again = provider.ensure(&key, &spec).await.unwrap();
    assert_eq!(again.phase.failure().unwrap().kind, ErrorKind::NotFound);
    cloud.fake.advance(Duration::from_secs(24 * 3600 + 60));
    assert_eq!(provider.get(&key).await.unwrap(), None);
    let next = provider.ensure(&key, &spec).await.unwrap();
    assert_ne!(next.id, failed.id);
    assert_eq!(
        cloud.only_cache().id,
        next.id.as_str(),
        "the failed one is not billed on"
    );
}

#[tokio::test]
async fn the_service_says_which_cache_suits() {
    let cloud = Cloud::start().await;
    let provider = cloud.open_with(Some(OWNER), json!({})).await;
    let (key, spec, state) = begin(&provider).await;
    assert_eq!(
        provider.most_suitable(&spec.images).await.unwrap(),
        None,
        "it is not ready"
    );
    cloud.fake.finish_builds();
    let suitable = provider.most_suitable(&spec.images).await.unwrap().unwrap();
    assert_eq!((suitable.id, suitable.key), (state.id, Some(key)));
    let foreign = cloud.fake.add_foreign_cache("somebody-elses");
    let images = ["registry.example.com/somebody/else:1".parse().unwrap()];
    let suitable = provider.most_suitable(&images).await.unwrap().unwrap();
    assert_eq!((suitable.id.as_str(), suitable.key), (foreign.as_str(), None));
}

#[tokio::test]
async fn a_deadline_of_ones_own() {
    let cloud = Cloud::start().await;
    let changes = json!({"build_deadline": "5m", "build_attempts": 1});
    let provider = cloud.open_with(Some(OWNER), changes).await;
    let (key, _, _) = begin(&provider).await;
    cloud.fake.advance(Duration::from_secs(301));
    let state = provider.get(&key).await.unwrap().unwrap();
    assert!(
        matches!(&state.phase, Phase::Failed(failure) if failure.message.contains("5m")),
        "{:?}",
        state.phase
    );
}
