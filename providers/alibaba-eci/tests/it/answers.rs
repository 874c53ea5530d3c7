//! Answers that a well-behaved service would never give.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use imagecache_alibaba_eci::{AlibabaProvider, Environment};
use imagecache_core::{CacheProvider as _, Clock, Error, ErrorKind, Phase, system_clock};
use jiff::Timestamp;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::support::{OWNER, config, key, spec};

/// A provider whose service answers every call with what `respond` says.
async fn provider(respond: impl Respond + 'static) -> (MockServer, AlibabaProvider) {
    provider_at(system_clock(), respond).await
}

async fn provider_at(clock: Clock, respond: impl Respond + 'static) -> (MockServer, AlibabaProvider) {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(respond)
        .mount(&server)
        .await;
    let environment = Environment::from_iter([
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret"),
    ]);
    let config = config("cn-hangzhou", &server.uri(), json!({}));
    let provider = AlibabaProvider::with_environment(config, Some(OWNER.to_owned()), clock, &environment);
    (server, provider.unwrap())
}

fn always(body: Value) -> impl Respond {
    ResponseTemplate::new(200).set_body_json(body)
}

fn page(caches: Value, next_token: &str) -> Value {
    json!({"RequestId": "r", "TotalCount": 1, "ImageCaches": caches, "NextToken": next_token})
}

/// A cache of ours with this id.
fn cache(id: &str) -> Value {
    let tag = |name: &str, value: &str| json!({"Key": format!("imagecache.dev/{name}"), "Value": value});
    json!({"ImageCacheId": id, "Status": "Ready", "Progress": "100%",
        "Tags": [tag("managed-by", "imagecache"), tag("owner", OWNER), tag("key", key(&spec()).as_str())]})
}

async fn list_error(respond: impl Respond + 'static) -> Error {
    let (_server, provider) = provider(respond).await;
    provider.list().await.unwrap_err()
}

#[tokio::test]
async fn pages_that_repeat_end() {
    let error = list_error(always(page(json!([]), "again"))).await;
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(
        error.message().contains("DescribeImageCaches still has more pages"),
        "{error}"
    );
}

#[tokio::test]
async fn pages_without_end_end() {
    let count = AtomicUsize::new(0);
    let endless = move |_: &Request| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        ResponseTemplate::new(200).set_body_json(page(json!([]), &number.to_string()))
    };
    let error = list_error(endless).await;
    assert!(error.message().contains("still has more pages after 2000"), "{error}");
}

#[tokio::test]
async fn another_form_than_documented_is_said_without_its_content() {
    for body in [
        json!({"RequestId": "r"}),
        json!({"RequestId": "r", "ImageCaches": "hunter2"}),
        json!({"RequestId": "r", "ImageCaches": [{"ImageCacheId": {"hunter2": 1}}]}),
    ] {
        let error = list_error(always(body.clone())).await;
        assert_eq!(error.kind(), ErrorKind::Internal, "{body}");
        assert!(error.message().contains("another form than documented"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn one_odd_cache_hides_no_other() {
    let caches = json!([cache("not an id"), {"Tags": null}, cache("imc-good"), cache("imc-good")]);
    let (_server, provider) = provider(always(page(caches, ""))).await;
    let listed = provider.list().await.unwrap();
    assert_eq!(
        listed.iter().map(|state| state.id.as_str()).collect::<Vec<_>>(),
        ["imc-good"]
    );
}

#[tokio::test]
async fn a_new_cache_without_an_id_is_an_error() {
    for id in [json!(""), json!("eci-1"), json!(null), json!(7)] {
        let create = json!({"RequestId": "r", "ImageCacheId": id, "ImageCaches": []});
        let (_server, provider) = provider(always(create)).await;
        let error = provider.ensure(&key(&spec()), &spec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    }
}

#[tokio::test]
async fn an_update_that_fails_is_given_up_though_its_tags_are_not_kept() {
    let mut failed = cache("imc-one");
    failed["Status"] = json!("UpdateFailed");
    let (server, provider) = provider(always(page(json!([failed]), ""))).await;
    for expected in ["Unknown", "Unknown", "Failed", "Failed"] {
        let state = provider.ensure(&key(&spec()), &spec()).await.unwrap();
        assert_eq!(state.phase.as_str(), expected);
    }
    let requests = server.received_requests().await.unwrap();
    let updates = |request: &&Request| request.headers.get("x-acs-action").unwrap() == "UpdateImageCache";
    assert_eq!(requests.iter().filter(updates).count(), 2);
}

#[tokio::test]
async fn what_is_sent() {
    let (server, provider) = provider(always(page(json!([]), ""))).await;
    provider.list().await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let [request, _addresses @ ..] = requests.as_slice() else {
        panic!("something was sent")
    };
    let all = |name: &str| -> Vec<String> {
        let values = request.headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/"));
    assert!(request.body.is_empty());
    let region = request.url.query_pairs().find(|(name, _)| name == "RegionId");
    assert_eq!(region.unwrap().1, "cn-hangzhou", "7.1: of the region");
    for (name, expected) in [
        ("host", server.address().to_string()),
        ("content-length", "0".to_owned()),
        ("accept", "application/json".to_owned()),
        ("user-agent", format!("imagecache/{}", env!("CARGO_PKG_VERSION"))),
        ("x-acs-action", "DescribeImageCaches".to_owned()),
        ("x-acs-version", "2018-08-08".to_owned()),
    ] {
        assert_eq!(all(name), [expected], "{name}");
    }
    let signed = "SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,";
    assert!(all("authorization").concat().contains(signed));
    assert!(all("content-type").is_empty() && all("x-acs-security-token").is_empty());
}

#[tokio::test]
async fn two_hundred_with_a_code_is_a_refusal() {
    let (_server, provider) = provider(always(
        json!({"RequestId": "r-7", "Code": "Forbidden.RiskControl", "Message": "m"}),
    ))
    .await;
    let error = provider.list().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error.request_id(), Some("r-7"));
}

#[tokio::test]
async fn a_cache_that_only_its_id_finds_is_not_made_again() {
    let creations = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&creations);
    // As if somebody had renamed it.
    let service = move |request: &Request| {
        let asked = |name: &str| request.url.query_pairs().any(|(key, _)| key == name);
        let body = if request.headers.get("x-acs-action").unwrap() == "CreateImageCache" {
            counted.fetch_add(1, Ordering::Relaxed);
            json!({"RequestId": "r", "ImageCacheId": "imc-renamed"})
        } else if asked("ImageCacheId") {
            page(json!([cache("imc-renamed")]), "")
        } else {
            page(json!([]), "")
        };
        ResponseTemplate::new(200).set_body_json(body)
    };
    let seconds = Arc::new(AtomicI64::new(1_767_225_600));
    let now = Arc::clone(&seconds);
    let clock: Clock = Arc::new(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap());
    let (_server, provider) = provider_at(clock, service).await;
    let (spec, key) = (spec(), key(&spec()));
    for phase in [Phase::Pending, Phase::Pending, Phase::Ready, Phase::Ready] {
        assert_eq!(provider.ensure(&key, &spec).await.unwrap().phase, phase);
        seconds.fetch_add(20, Ordering::Relaxed);
    }
    assert_eq!(creations.load(Ordering::Relaxed), 1);
}
