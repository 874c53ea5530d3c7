//! Never a second cache that is billed: lost answers, lagging lists, dead tokens, restarts, several providers at once.

use std::time::Duration;

use imagecache_core::{CacheProvider as _, ErrorKind, Phase, RegistryCredential, Secret};
use imagecache_fakes::eci::Fault;
use serde_json::json;

use crate::support::{Cloud, OWNER, PASSWORD, begin, key, spec};

const CREATE: &str = "CreateImageCache";
/// Longer than a created cache may be missing from lists.
const WINDOW: Duration = Duration::from_secs(31);

#[tokio::test]
async fn an_answer_that_is_lost_costs_nothing() {
    for fault in [Fault::ServerErrorAfter, Fault::NoAnswer, Fault::CutBody] {
        let cloud = Cloud::start().await;
        let provider = cloud.open();
        cloud.fake.inject(CREATE, fault.clone(), 1);
        let (key, _, state) = begin(&provider).await;
        assert_eq!(state.id.as_str(), cloud.only_cache().id, "{fault:?}");
        assert_eq!((cloud.fake.calls(CREATE), cloud.fake.creations()), (2, 1), "{fault:?}");
        assert_eq!(provider.get(&key).await.unwrap().unwrap().id, state.id);
    }
}

#[tokio::test]
async fn a_crash_after_the_call_costs_nothing() {
    let cloud = Cloud::start().await;
    cloud.fake.set_visibility_lag(Duration::from_secs(10));
    let (key, spec, first) = begin(&cloud.open()).await;
    // The next process knows nothing, and the list does not show the cache yet.
    let provider = cloud.open();
    assert_eq!(provider.get(&key).await.unwrap(), None);
    let again = provider.ensure(&key, &spec).await.unwrap();
    assert_eq!((again.id, again.phase), (first.id, Phase::Pending));
    assert_eq!(cloud.fake.creations(), 1);
}

#[tokio::test]
async fn providers_at_once_make_one_cache() {
    let cloud = Cloud::start().await;
    // Nobody sees what the others did.
    cloud.fake.set_visibility_lag(Duration::from_secs(3600));
    let spec = spec();
    let key = key(&spec);
    let providers: Vec<_> = (0..5).map(|_| cloud.open()).collect();
    let calls = providers.iter().map(|provider| provider.ensure(&key, &spec));
    let states = futures::future::join_all(calls).await;
    let ids: Vec<_> = states.into_iter().map(|state| state.unwrap().id).collect();
    assert_eq!(
        ids.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        vec![cloud.only_cache().id; 5]
    );
    assert_eq!(cloud.fake.creations(), 1);
}

#[tokio::test]
async fn a_cache_deleted_by_us_is_made_again_at_once() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, first) = begin(&provider).await;
    provider.delete(&key).await.unwrap();
    let second = provider.ensure(&key, &spec).await.unwrap();
    assert_ne!(second.id, first.id, "the service remembers the first token");
    assert_eq!(second.id.as_str(), cloud.only_cache().id);
}

#[tokio::test]
async fn a_dead_token_is_found_out_after_a_restart() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, first) = begin(&provider).await;
    provider.delete(&key).await.unwrap();
    let provider = cloud.open();
    // The token of the deleted cache gives its id again: it may just not be listed yet.
    let ghost = provider.ensure(&key, &spec).await.unwrap();
    assert_eq!((&ghost.id, ghost.phase), (&first.id, Phase::Pending));
    assert_eq!(cloud.fake.creations(), 1);
    cloud.fake.advance(WINDOW);
    let second = provider.ensure(&key, &spec).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(second.id.as_str(), cloud.only_cache().id);
    assert_eq!(cloud.fake.creations(), 2);
}

#[tokio::test]
async fn a_token_with_other_parameters_waits_for_its_cache() {
    let cloud = Cloud::start().await;
    cloud.fake.set_visibility_lag(Duration::from_secs(10));
    let (key, spec, first) = begin(&cloud.open()).await;
    // After a restart the password is another one.
    let provider = cloud.open();
    let mut rotated = spec.clone();
    rotated.credentials = vec![RegistryCredential {
        server: "registry.example.com".to_owned(),
        username: "u".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
    }];
    for _ in 0..2 {
        let error = provider.ensure(&key, &rotated).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.retry_after().is_some());
    }
    assert_eq!(
        cloud.fake.rejected("IdempotentParameterMismatch"),
        1,
        "it is not asked again meanwhile"
    );
    cloud.fake.advance(Duration::from_secs(11));
    assert_eq!(provider.ensure(&key, &rotated).await.unwrap().id, first.id);
    assert_eq!(cloud.fake.creations(), 1);
}

#[tokio::test]
async fn a_dead_token_with_other_parameters_is_given_up() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, spec, _) = begin(&provider).await;
    provider.delete(&key).await.unwrap();
    let provider = cloud.open_with(Some(OWNER), json!({"defaults": {"layer_reuse": true}}));
    assert_eq!(
        provider.ensure(&key, &spec).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    cloud.fake.advance(WINDOW);
    let state = provider.ensure(&key, &spec).await.unwrap();
    assert_eq!(state.id.as_str(), cloud.only_cache().id);
}

#[tokio::test]
async fn of_two_caches_the_better_one_stays() {
    let cloud = Cloud::start().await;
    let (key, spec, first) = begin(&cloud.open()).await;
    // A second one under the same key: a provider whose default differs, while lists lag for hours.
    cloud.fake.set_visibility_lag(Duration::from_secs(3600));
    let other = cloud.open_with(Some(OWNER), json!({"defaults": {"layer_reuse": true}}));
    other.ensure(&key, &spec).await.unwrap_err();
    cloud.fake.advance(WINDOW);
    let second = other.ensure(&key, &spec).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 2);
    cloud.fake.set_visibility_lag(Duration::ZERO);
    cloud.fake.set_status(second.id.as_str(), "Ready");

    let provider = cloud.open();
    let listed = provider.list().await.unwrap();
    assert_eq!(listed.iter().map(|state| &state.id).collect::<Vec<_>>(), [&second.id]);
    assert_eq!(provider.get(&key).await.unwrap().unwrap().id, second.id);
    assert_eq!(provider.ensure(&key, &spec).await.unwrap().id, second.id);
    assert_eq!(cloud.only_cache().id, second.id.as_str());
    assert_ne!(second.id, first.id);
}
