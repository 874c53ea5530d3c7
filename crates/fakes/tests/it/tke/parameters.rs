//! What calls may say: the documented parameters in the documented types, and nothing else.

use imagecache_fakes::tke::FakeTke;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::support::{Caller, TKE, wanted};

async fn start() -> (FakeTke, Caller) {
    let fake = FakeTke::start().await;
    fake.set_rate(None);
    let caller = Caller::new(&fake);
    (fake, caller)
}

#[tokio::test]
async fn every_parameter_is_taken() {
    let (fake, caller) = start().await;
    let all = json!({
        "SecurityGroupIds": ["sg-1cghhuuu"],
        "ImageRegistryCredentials": [{"Server": "ccr.example.com", "Username": "u", "Password": "hunter2", "Name": "n"}],
        "AutoCreateEip": true,
        "AutoCreateEipAttribute":
            {"DeletePolicy": "", "InternetServiceProvider": "BGP", "InternetMaxBandwidthOut": 2},
        "ImageCacheSize": 20,
        "RetentionDays": 0,
        "RegistrySkipVerifyList": ["harbor.example.com"],
        "RegistryHttpEndPointList": ["harbor.example.com:5000"],
        "ResolveConfig": "nameserver 4.4.4.4\nnameserver 8.8.8.8",
        "Tags": [{"Key": "project", "Value": ""}],
    });
    caller.create_with("测试", all.clone()).await;
    let cache = fake.caches().remove(0);
    assert_eq!((cache.name.as_str(), cache.size), ("测试", 20));
    assert_eq!(cache.tags, [("project".to_owned(), String::new())]);
    for (name, value) in wanted("测试", all).as_object().unwrap() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(cache.parameters.get(name), Some(&text), "{name}");
    }
    assert!(fake.secrets().contains(&"hunter2".to_owned()));
    caller
        .create_with("a", json!({"ExistedEipId": "eip-abcd1234", "AutoCreateEip": false}))
        .await;
}

#[tokio::test]
async fn wrong_creations_are_refused() {
    let (fake, caller) = start().await;
    let without = |name: &str| {
        let mut all = wanted("a", json!({}));
        all.as_object_mut().unwrap().remove(name);
        all
    };
    let with = |more: Value| wanted("a", more);
    let rows = [
        ("MissingParameter", without("Images")),
        ("MissingParameter", without("VpcId")),
        ("MissingParameter", without("SubnetId")),
        ("UnknownParameter", with(json!({"ClientToken": "a"}))),
        ("UnknownParameter", with(json!({"imageCacheSize": 20}))),
        ("UnknownParameter", with(json!({"ExistedEipIds": ["eip-abcd1234"]}))),
        (
            "UnknownParameter",
            with(json!({"Tags": [{"Key": "a", "Value": "b", "Colour": "red"}]})),
        ),
        (
            "UnknownParameter",
            with(json!({"ImageRegistryCredentials": [{"UserName": "a"}]})),
        ),
        ("MissingParameter", with(json!({"Tags": [{"Key": "a"}]}))),
        (
            "MissingParameter",
            with(json!({"AutoCreateEipAttribute": {"InternetMaxBandwidthOut": 2}})),
        ),
        ("InvalidParameter", with(json!({"Images": []}))),
        ("InvalidParameter", with(json!({"Images": [""]}))),
        ("InvalidParameter", with(json!({"Images": "nginx"}))),
        (
            "InvalidParameter",
            with(json!({"Images": ["https://registry.example.com/nginx"]})),
        ),
        ("InvalidParameter", with(json!({"VpcId": "subnet-8ah75lo8"}))),
        ("InvalidParameter", with(json!({"SubnetId": "subnet-"}))),
        ("InvalidParameter", with(json!({"SecurityGroupIds": ["default"]}))),
        ("InvalidParameter", with(json!({"ImageCacheName": null}))),
        ("InvalidParameter", with(json!({"ImageCacheName": "a".repeat(64)}))),
        ("InvalidParameter", with(json!({"ImageCacheSize": 19}))),
        ("InvalidParameter", with(json!({"ImageCacheSize": 32_001}))),
        ("InvalidParameter", with(json!({"ImageCacheSize": "20"}))),
        ("InvalidParameter", with(json!({"ImageCacheSize": 20.5}))),
        ("InvalidParameter", with(json!({"RetentionDays": -1}))),
        ("InvalidParameter", with(json!({"RetentionDays": 3_651}))),
        ("InvalidParameter", with(json!({"AutoCreateEip": "true"}))),
        (
            "InvalidParameter",
            with(json!({"AutoCreateEip": true, "ExistedEipId": "eip-abcd1234"})),
        ),
        (
            "InvalidParameter",
            with(json!({"AutoCreateEipAttribute": {"DeletePolicy": ""}, "ExistedEipId": "eip-abcd1234"})),
        ),
        (
            "InvalidParameter",
            with(json!({"AutoCreateEipAttribute": {"DeletePolicy": "", "InternetServiceProvider": "X"}})),
        ),
        (
            "InvalidParameter",
            with(json!({"RegistrySkipVerifyList": ["https://harbor.example.com"]})),
        ),
        (
            "InvalidParameter",
            with(json!({"ImageRegistryCredentials": [{"Server": "https://harbor.example.com"}]})),
        ),
        (
            "InvalidParameter",
            with(json!({"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a", "Value": "c"}]})),
        ),
        ("InvalidParameter", with(json!({"Tags": {"a": "b"}}))),
        ("InvalidParameter", json!([])),
    ];
    for (expected, parameters) in rows {
        let answer = caller.tke("CreateImageCache", parameters.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (200, expected), "{parameters}");
    }
    assert_eq!(fake.creations(), 0);
}

#[tokio::test]
async fn wrong_parameters_of_the_others_are_refused() {
    let (_fake, caller) = start().await;
    let many: Vec<String> = (0..101).map(|number| format!("imc-{number:08}")).collect();
    let rows = [
        ("DescribeImageCaches", "InvalidParameter", json!({"Limit": 51})),
        ("DescribeImageCaches", "InvalidParameter", json!({"Limit": 0})),
        ("DescribeImageCaches", "InvalidParameter", json!({"Offset": -1})),
        (
            "DescribeImageCaches",
            "InvalidParameter",
            json!({"Filters": [{"Name": "status", "Values": ["Ready"]}]}),
        ),
        (
            "DescribeImageCaches",
            "MissingParameter",
            json!({"Filters": [{"Name": "image-cache-name"}]}),
        ),
        ("DescribeImageCaches", "UnknownParameter", json!({"NextToken": ""})),
        ("UpdateImageCache", "MissingParameter", json!({"Images": ["nginx"]})),
        (
            "UpdateImageCache",
            "UnknownParameter",
            json!({"ImageCacheId": "imc-abcd1234", "VpcId": "vpc-508ctkfb"}),
        ),
        (
            "UpdateImageCache",
            "InvalidParameter",
            json!({"ImageCacheId": "imc-abcd1234", "Images": []}),
        ),
        ("DeleteImageCaches", "MissingParameter", json!({})),
        ("DeleteImageCaches", "InvalidParameter", json!({"ImageCacheIds": []})),
        ("DeleteImageCaches", "InvalidParameter", json!({"ImageCacheIds": many})),
        (
            "DeleteImageCaches",
            "UnknownParameter",
            json!({"ImageCacheIds": ["imc-abcd1234"], "ImageCacheId": "a"}),
        ),
        (
            "GetMostSuitableImageCache",
            "MissingParameter",
            json!({"Snapshotter": "overlay"}),
        ),
        (
            "GetMostSuitableImageCache",
            "UnknownParameter",
            json!({"Images": ["a"], "Platform": "arm64"}),
        ),
        ("DescribeClusters", "InvalidAction", json!({})),
    ];
    for (action, expected, parameters) in rows {
        let answer = caller.tke(action, parameters.clone()).await;
        assert_eq!(answer.code(), expected, "{action} {parameters}");
    }
}

#[tokio::test]
async fn only_json_is_a_body() {
    let (_fake, caller) = start().await;
    for (content_type, body, expected) in [
        ("application/json; charset=utf-8", "{}", ""),
        ("application/json", "", "InvalidParameter"),
        ("application/json", "{", "InvalidParameter"),
        ("application/json", "null", "InvalidParameter"),
        ("application/x-www-form-urlencoded", "Limit=1", "InvalidRequest"),
        ("text/plain", "{}", "InvalidRequest"),
    ] {
        let body = body.as_bytes();
        let now = Timestamp::now();
        let headers = caller.signed_headers(("POST", ""), content_type, TKE, "DescribeImageCaches", body, now);
        let answer = caller.post(&headers, body).await;
        assert_eq!(answer.code(), expected, "{content_type} {body:?}");
    }
}

#[tokio::test]
async fn quotas_refuse() {
    let (fake, caller) = start().await;
    fake.set_quota(1);
    let id = caller.create("a").await;
    let again = async || caller.tke("CreateImageCache", wanted("b", json!({}))).await.code();
    assert_eq!(again().await, "LimitExceeded");
    fake.set_quota_code("InternalError.QuotaMaxClsLimit");
    assert_eq!(again().await, "InternalError.QuotaMaxClsLimit");
    caller
        .tke("DeleteImageCaches", json!({"ImageCacheIds": [id]}))
        .await
        .ok();
    assert_eq!(again().await, "");
    assert_eq!(fake.creations(), 2);
}
