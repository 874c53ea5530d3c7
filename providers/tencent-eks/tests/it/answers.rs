//! Answers that a well-behaved service would never give.

use imagecache_core::{CacheProvider as _, Error, ErrorKind, system_clock};
use imagecache_tencent_eks::{Environment, TencentProvider};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::support::{OWNER, config, key, spec};

/// A provider whose service answers every call with what `respond` says.
async fn provider(owner: Option<&str>, respond: impl Respond + 'static) -> (MockServer, TencentProvider) {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(respond)
        .mount(&server)
        .await;
    let environment = Environment::from_iter([
        ("TENCENTCLOUD_SECRET_ID", "id"),
        ("TENCENTCLOUD_SECRET_KEY", "secret"),
        ("TENCENTCLOUD_TOKEN", "token"),
    ]);
    let config = config("ap-guangzhou", &server.uri(), json!({}));
    let owner = owner.map(str::to_owned);
    let provider = TencentProvider::with_environment(config, owner, system_clock(), &environment);
    (server, provider.unwrap())
}

fn always(response: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"Response": response}))
}

fn page(caches: &Value, total: u64) -> Value {
    json!({"RequestId": "r", "TotalCount": total, "ImageCaches": caches})
}

/// A cache of ours with this id.
fn cache(id: &str) -> Value {
    let tag = |name: &str, value: &str| json!({"Key": format!("imagecache.dev/{name}"), "Value": value});
    json!({"ImageCacheId": id, "ImageCacheName": key(&spec()).as_str(), "Status": "Ready",
        "Tags": [tag("managed-by", "imagecache"), tag("owner", OWNER)]})
}

async fn list_error(respond: impl Respond + 'static) -> Error {
    let (_server, provider) = provider(Some(OWNER), respond).await;
    provider.list().await.unwrap_err()
}

#[tokio::test]
async fn pages_without_end_end() {
    let error = list_error(always(&page(&json!([cache("imc-again")]), u64::MAX))).await;
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(
        error
            .message()
            .contains("DescribeImageCaches still has more pages after 2000"),
        "{error}"
    );
}

#[tokio::test]
async fn a_total_that_is_too_high_ends_with_the_first_empty_page() {
    let respond = |request: &Request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let caches = match asked["Offset"].as_u64() {
            Some(0) => json!([cache("imc-one")]),
            _ => json!([]),
        };
        always(&page(&caches, 7))
    };
    let (server, provider) = provider(Some(OWNER), respond).await;
    assert_eq!(provider.list().await.unwrap().len(), 1);
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn another_form_than_documented_is_said_without_its_content() {
    for body in [
        json!({"RequestId": "r"}),
        json!({"RequestId": "r", "ImageCaches": "hunter2"}),
        json!({"RequestId": "r", "ImageCaches": [{"ImageCacheId": {"hunter2": 1}}]}),
    ] {
        let error = list_error(always(&body)).await;
        assert_eq!(error.kind(), ErrorKind::Internal, "{body}");
        assert!(error.message().contains("another form than documented"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn one_odd_cache_hides_no_other() {
    let caches = json!([cache("not an id"), {"Tags": null}, cache("imc-good"), cache("imc-good")]);
    let (_server, provider) = provider(Some(OWNER), always(&page(&caches, 4))).await;
    let listed = provider.list().await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|state| state.id.as_str()).collect();
    assert_eq!(ids, ["imc-good"]);
}

#[tokio::test]
async fn a_new_cache_without_an_id_may_exist_all_the_same() {
    for id in [json!(""), json!("eksci-1"), json!(null), json!(7)] {
        let mut created = page(&json!([]), 0);
        created["ImageCacheId"] = id.clone();
        // The command line, which need not look for a while first.
        let (server, provider) = provider(None, always(&created)).await;
        let error = provider.ensure(&key(&spec()), &spec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{id}: {error}");
        assert!(error.message().contains("not known yet"), "{id}: {error}");
        let error = provider.ensure(&key(&spec()), &spec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{id}: {error}");
        let requests = server.received_requests().await.unwrap();
        let creates = |request: &&Request| request.headers.get("x-tc-action").unwrap() == "CreateImageCache";
        assert_eq!(requests.iter().filter(creates).count(), 1, "{id}");
    }
}

#[tokio::test]
async fn an_update_that_fails_is_given_up_though_its_tags_are_not_kept() {
    let mut failed = cache("imc-one");
    failed["Status"] = json!("UpdateFailed");
    let (server, provider) = provider(Some(OWNER), always(&page(&json!([failed]), 1))).await;
    for expected in ["Unknown", "Unknown", "Failed", "Failed"] {
        let state = provider.ensure(&key(&spec()), &spec()).await.unwrap();
        assert_eq!(state.phase.as_str(), expected);
    }
    let requests = server.received_requests().await.unwrap();
    let updates = |request: &&Request| request.headers.get("x-tc-action").unwrap() == "UpdateImageCache";
    assert_eq!(requests.iter().filter(updates).count(), 2);
}

#[tokio::test]
async fn what_is_sent() {
    let (server, provider) = provider(Some(OWNER), always(&page(&json!([]), 0))).await;
    provider.list().await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let [request] = requests.as_slice() else {
        panic!("one call expected, not {requests:?}")
    };
    let all = |name: &str| -> Vec<String> {
        let values = request.headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/"));
    assert_eq!(request.url.query(), None);
    assert_eq!(request.body, br#"{"Limit":50,"Offset":0}"#);
    for (name, expected) in [
        ("host", server.address().to_string()),
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json".to_owned()),
        ("user-agent", format!("imagecache/{}", env!("CARGO_PKG_VERSION"))),
        ("x-tc-action", "DescribeImageCaches".to_owned()),
        ("x-tc-version", "2018-05-25".to_owned()),
        // 7.1: same region.
        ("x-tc-region", "ap-guangzhou".to_owned()),
        ("x-tc-token", "token".to_owned()),
    ] {
        assert_eq!(all(name), [expected], "{name}");
    }
    assert!(
        all("authorization")
            .concat()
            .contains("SignedHeaders=content-type;host;x-tc-action,"),
        "the token is not signed"
    );
}

#[tokio::test]
async fn two_hundred_with_an_error_is_a_refusal_whatever_the_content_type() {
    let body = json!({"Response": {"RequestId": "r-7", "Error": {"Code": "InternalError.CamNoAuth", "Message": "m"}}});
    for content_type in ["application/json", "application/json; charset=utf-8", "text/html"] {
        let answer = ResponseTemplate::new(200).set_body_raw(body.to_string(), content_type);
        let error = list_error(answer).await;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{content_type}");
        assert_eq!(error.request_id(), Some("r-7"), "{content_type}");
    }
}

#[tokio::test]
async fn what_suits_must_be_a_cache() {
    let images = ["registry.example.com/a:1".parse().unwrap()];
    for (answer, expected) in [
        (json!({"Found": false, "ImageCache": null}), Ok(None)),
        (json!({"Found": true, "ImageCache": null}), Ok(None)),
        (json!({"Found": false, "ImageCache": cache("imc-other")}), Ok(None)),
        (
            json!({"Found": true, "ImageCache": cache("imc-one")}),
            Ok(Some("imc-one")),
        ),
        (json!({"Found": true, "ImageCache": cache("snap-1")}), Err("`snap-1`")),
        (json!({"ImageCache": null}), Err("another form than documented")),
    ] {
        let mut response = answer.clone();
        response["RequestId"] = json!("r");
        let (_server, provider) = provider(Some(OWNER), always(&response)).await;
        match (provider.most_suitable(&images).await, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.as_ref().map(|found| found.id.as_str()), expected, "{answer}");
            }
            (Err(error), Err(part)) => assert!(error.message().contains(part), "{answer}: {error}"),
            (found, _) => panic!("{answer}: {found:?}"),
        }
    }
}
