//! Never a second cache that is billed: lost answers, lagging lists, crashes, several providers at once.

use std::time::Duration;

use imagecache_conformance::cloud::cut_short;
use imagecache_core::{CacheKey, CacheProvider as _, ErrorKind, Phase};
use imagecache_fakes::tke::Fault;
use serde_json::json;
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{Cloud, LAG, OWNER, begin, config, key, spec};

const CREATE: &str = "CreateImageCache";
/// Less than lists are believed to lag.
const SHORT_LAG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_answer_that_is_lost_costs_nothing() {
    for fault in [
        Fault::ServerErrorAfter,
        Fault::NoAnswer,
        Fault::CutBody,
        Fault::WrongJson,
    ] {
        let cloud = Cloud::start().await;
        let provider = cloud.open().await;
        cloud.fake.inject(CREATE, fault.clone(), 1);
        let (key, _, state) = begin(&provider).await;
        assert_eq!(state.id.as_str(), cloud.only_cache().id, "{fault:?}");
        assert_eq!((cloud.fake.calls(CREATE), cloud.fake.creations()), (1, 1), "{fault:?}");
        assert_eq!(provider.get(&key).await.unwrap().unwrap().id, state.id);
    }
}

#[tokio::test]
async fn fifty_answers_that_are_lost_cost_nothing() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    cloud.fake.inject(CREATE, Fault::NoAnswer, 50);
    let spec = spec();
    let keys: Vec<CacheKey> = (0..50).map(|n| CacheKey::new(&format!("object-{n}"), &spec)).collect();
    let states = futures::future::join_all(keys.iter().map(|key| provider.ensure(key, &spec))).await;
    assert!(states.iter().all(Result::is_ok), "{states:?}");
    for key in &keys {
        provider.ensure(key, &spec).await.unwrap();
    }
    assert_eq!((cloud.fake.calls(CREATE), cloud.fake.creations()), (50, 50));
}

#[tokio::test]
async fn a_lost_answer_is_waited_for_while_lists_lag() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    cloud.fake.set_visibility_lag(SHORT_LAG);
    cloud.fake.inject(CREATE, Fault::ServerErrorAfter, 1);
    let (spec, key) = (spec(), key(&spec()));
    let error = provider.ensure(&key, &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("not known yet"), "{error}");
    for _ in 0..2 {
        let error = provider.ensure(&key, &spec).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.retry_after().is_some());
    }
    // Nor is the key given up: its cache would be left behind.
    assert_eq!(provider.delete(&key).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(cloud.fake.calls(CREATE), 1);
    cloud.fake.advance(SHORT_LAG);
    assert_eq!(
        provider.ensure(&key, &spec).await.unwrap().id.as_str(),
        cloud.only_cache().id
    );
    assert_eq!((cloud.fake.calls(CREATE), cloud.fake.creations()), (1, 1));
    provider.delete(&key).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 0);
}

#[tokio::test]
async fn a_call_that_did_nothing_is_made_again_when_that_is_certain() {
    for fault in [Fault::ServerErrorBefore, Fault::NoAnswerBefore] {
        let cloud = Cloud::start().await;
        let provider = cloud.open().await;
        cloud.fake.inject(CREATE, fault.clone(), 1);
        let (spec, key) = (spec(), key(&spec()));
        for kind in [ErrorKind::Unavailable, ErrorKind::Conflict] {
            assert_eq!(
                provider.ensure(&key, &spec).await.unwrap_err().kind(),
                kind,
                "{fault:?}"
            );
        }
        assert_eq!(cloud.fake.calls(CREATE), 1, "{fault:?}");
        cloud.fake.advance(LAG);
        provider.ensure(&key, &spec).await.unwrap();
        assert_eq!((cloud.fake.calls(CREATE), cloud.fake.creations()), (2, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn a_code_that_nobody_knows_may_have_done_something() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    let unknown = Fault::Refuse {
        status: 200,
        code: "InternalError.SomethingNew".to_owned(),
        message: "m".to_owned(),
    };
    cloud.fake.inject(CREATE, unknown, 1);
    let (spec, key) = (spec(), key(&spec()));
    let error = provider.ensure(&key, &spec).await.unwrap_err();
    assert!(error.message().contains("InternalError.SomethingNew"), "{error}");
    assert_eq!(
        provider.ensure(&key, &spec).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(cloud.fake.calls(CREATE), 1);
}

#[tokio::test]
async fn fifty_calls_that_are_given_up_cost_nothing() {
    let cloud = Cloud::start().await;
    cloud.fake.set_visibility_lag(SHORT_LAG);
    let (spec, key) = (spec(), key(&spec()));
    let provider = cloud.open().await;
    for polls in 0..50 {
        cut_short(provider.ensure(&key, &spec), polls % 25).await;
        assert!(cloud.fake.creations() <= 1, "after {polls}");
    }
    cloud.fake.advance(LAG);
    assert_eq!(
        provider.ensure(&key, &spec).await.unwrap().id.as_str(),
        cloud.only_cache().id
    );
}

#[tokio::test]
async fn a_process_that_has_just_started_only_looks() {
    let cloud = Cloud::start().await;
    let first = cloud.open().await;
    cloud.fake.set_visibility_lag(SHORT_LAG);
    let (key, spec, state) = begin(&first).await;
    // The next process knows nothing, and the list does not show the cache yet.
    let next = cloud.start_provider(Some(OWNER), json!({}));
    let error = next.ensure(&key, &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains("just started"), "{error}");
    cloud.fake.advance(SHORT_LAG);
    assert_eq!(next.ensure(&key, &spec).await.unwrap().id, state.id);
    assert_eq!(cloud.fake.calls(CREATE), 1);
}

#[tokio::test]
async fn the_command_line_does_not_wait() {
    let cloud = Cloud::start().await;
    let (_, _, state) = begin(&cloud.start_provider(None, json!({}))).await;
    assert_eq!(state.id.as_str(), cloud.only_cache().id);
}

#[tokio::test]
async fn a_lagging_list_is_not_an_absence() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    // Longer than we believe.
    cloud.fake.set_visibility_lag(LAG * 2);
    let (key, spec, first) = begin(&provider).await;
    for _ in 0..3 {
        let again = provider.ensure(&key, &spec).await.unwrap();
        assert_eq!((&again.id, again.phase), (&first.id, Phase::Pending));
    }
    assert_eq!(cloud.fake.calls(CREATE), 1);
    cloud.fake.advance(LAG * 2);
    assert_eq!(provider.ensure(&key, &spec).await.unwrap().id, first.id);
    assert_eq!(cloud.fake.creations(), 1);
}

#[tokio::test]
async fn what_somebody_else_deleted_is_made_again() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.open().await, cloud.open().await);
    cloud.fake.set_visibility_lag(SHORT_LAG);
    let (key, spec, first) = begin(&one).await;
    cloud.fake.set_visibility_lag(Duration::ZERO);
    two.delete(&key).await.unwrap();
    let ghost = one.ensure(&key, &spec).await.unwrap();
    assert_eq!(ghost.id, first.id, "it may just not be listed");
    cloud.fake.advance(LAG);
    let second = one.ensure(&key, &spec).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(second.id.as_str(), cloud.only_cache().id);
    // What was seen in a list already is missed at once.
    assert_eq!(one.ensure(&key, &spec).await.unwrap().id, second.id);
    two.delete(&key).await.unwrap();
    let third = one.ensure(&key, &spec).await.unwrap();
    assert_ne!(third.id, second.id);
    assert_eq!(third.id.as_str(), cloud.only_cache().id);
}

#[tokio::test]
async fn of_what_providers_made_at_once_one_cache_stays() {
    let cloud = Cloud::start().await;
    let (spec, key) = (spec(), key(&spec()));
    let mut providers = Vec::new();
    for _ in 0..5 {
        providers.push(cloud.open().await);
    }
    futures::future::join_all(providers.iter().map(|provider| provider.ensure(&key, &spec))).await;
    for provider in &providers {
        provider.list().await.unwrap();
    }
    let left = cloud.only_cache();
    for provider in &providers {
        let state = provider.get(&key).await.unwrap().unwrap();
        assert_eq!(state.id.as_str(), left.id);
    }
}

#[tokio::test]
async fn two_caches_become_one_when_they_are_listed() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.open().await, cloud.open().await);
    cloud.fake.set_visibility_lag(SHORT_LAG);
    let (key, spec, first) = begin(&one).await;
    // Without leader election: nobody sees what the other did. This is what the service has nothing against.
    let second = two.ensure(&key, &spec).await.unwrap();
    assert_ne!(first.id, second.id);
    cloud.fake.set_visibility_lag(Duration::ZERO);
    cloud.fake.set_status(second.id.as_str(), "Ready");
    let listed = one.list().await.unwrap();
    assert_eq!(
        listed.iter().map(|state| &state.id).collect::<Vec<_>>(),
        [&second.id],
        "the better one"
    );
    assert_eq!(cloud.only_cache().id, second.id.as_str());
    assert_eq!(two.ensure(&key, &spec).await.unwrap().id, second.id);
}

#[tokio::test]
async fn beside_a_cache_that_may_be_ours_none_is_made() {
    let server = MockServer::start().await;
    let (spec, key) = (spec(), key(&spec()));
    let listed = json!({"Response": {"TotalCount": 1, "RequestId": "r", "ImageCaches": [
        {"ImageCacheId": "imc-abcd1234", "ImageCacheName": key.as_str(), "Status": "Ready", "ImageCacheType": "manual"}]}});
    Mock::given(header("x-tc-action", "DescribeImageCaches"))
        .respond_with(ResponseTemplate::new(200).set_body_json(listed))
        .mount(&server)
        .await;
    Mock::given(header("x-tc-action", CREATE))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let cloud = Cloud::start().await;
    let config = config(cloud.fake.region(), &server.uri(), json!({}));
    let provider =
        imagecache_tencent_eks::TencentProvider::with_environment(config, None, cloud.clock(), &cloud.environment());
    let provider = provider.unwrap();
    let error = provider.ensure(&key, &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for part in ["imc-abcd1234", key.as_str(), "no tags"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(provider.get(&key).await.unwrap(), None, "nor is it taken for ours");
}
