//! The image cache operations, as the documentation has them.

use std::time::Duration;

use imagecache_fakes::eci::{BuildEnd, FakeEci, Pace};
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Pairs};

async fn cloud() -> (FakeEci, Caller) {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    (fake, caller)
}

fn failed() -> BuildEnd {
    BuildEnd::Failed {
        reason: "Failed".to_owned(),
        message: "image pull failed".to_owned(),
    }
}

/// Status and progress.
fn stage(cache: &Value) -> (&str, &str) {
    (
        cache["Status"].as_str().unwrap_or("gone"),
        cache["Progress"].as_str().unwrap_or(""),
    )
}

/// Names of all caches, page by page.
async fn names(caller: &Caller, filter: Pairs<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let mut all = filter.to_vec();
        if !token.is_empty() {
            all.push(("NextToken", &token));
        }
        let answer = caller.eci("DescribeImageCaches", &all).await.ok();
        for cache in answer.body["ImageCaches"].as_array().unwrap() {
            names.push(cache["ImageCacheName"].as_str().unwrap().to_owned());
        }
        match answer.body["NextToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => {
                assert_eq!(answer.body["TotalCount"], json!(names.len()));
                return names;
            }
        }
    }
}

#[tokio::test]
async fn a_build_goes_its_way() {
    let (fake, caller) = cloud().await;
    let made = caller
        .create(
            "demo",
            &[("RetentionDays", "7"), ("ImageCacheSize", "10"), ("Image.2", "busybox")],
        )
        .await
        .ok();
    assert!(made.text("/ImageCacheId").starts_with("imc-") && made.text("/ContainerGroupId").starts_with("eci-"));
    let id = made.text("/ImageCacheId");
    let preparing = caller.one(&id).await;
    assert_eq!(stage(&preparing), ("Preparing", "0%"));
    assert_eq!(preparing["ImageCacheSize"], json!(20));
    assert_eq!(preparing["Images"], json!(["nginx:1.27", "busybox"]));
    assert_eq!(
        preparing["Events"].as_array().unwrap().last().unwrap()["Message"],
        "start to pull images"
    );
    assert!(preparing.get("SnapshotId").is_none() && preparing.get("ResourceGroupId").is_none());
    let (preparing, creating) = (Duration::from_secs(60), Duration::from_secs(100));
    fake.set_pace(Pace::After { preparing, creating });
    fake.age(Duration::from_secs(110));
    let cache = caller.one(&id).await;
    assert_eq!(stage(&cache), ("Creating", "52%"));
    assert!(cache["SnapshotId"].as_str().unwrap().starts_with("s-"));
    fake.age(Duration::from_secs(60));
    let cache = caller.one(&id).await;
    assert_eq!(stage(&cache), ("Ready", "100%"));
    assert!(
        cache["Events"]
            .to_string()
            .contains("Successfully pulled image busybox")
    );
    assert_eq!(fake.caches()[0].status, "Ready");
    fake.age(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(caller.one(&id).await, Value::Null);
}

#[tokio::test]
async fn a_build_fails_or_hangs_when_told() {
    let (fake, caller) = cloud().await;
    fake.fail_next_build(failed());
    fake.fail_next_build(BuildEnd::Hangs);
    let mut ids = Vec::new();
    for name in ["fails", "hangs", "works"] {
        ids.push(caller.create(name, &[]).await.ok().text("/ImageCacheId"));
    }
    fake.finish_builds();
    fake.finish_builds();
    let cache = caller.one(&ids[0]).await;
    assert_eq!(stage(&cache), ("Failed", "0%"));
    let last = cache["Events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["Type"], &last["Message"]),
        (&json!("Warning"), &json!("image pull failed"))
    );
    assert!(cache["ExpireDateTime"].is_string());
    let cache = caller.one(&ids[1]).await;
    assert_eq!(stage(&cache), ("Preparing", "0%"));
    assert_eq!(
        cache["Events"].as_array().unwrap().last().unwrap()["Message"],
        "start to pull images"
    );
    assert_eq!(stage(&caller.one(&ids[2]).await), ("Ready", "100%"));
    fake.age(Duration::from_secs(24 * 3_600));
    assert_eq!(caller.one(&ids[0]).await, Value::Null);
    assert_eq!(fake.creations(), 3);
}

#[tokio::test]
async fn an_instant_cache_is_ready_before_its_snapshot() {
    let (fake, caller) = cloud().await;
    let id = caller
        .create("flash", &[("Flash", "true")])
        .await
        .ok()
        .text("/ImageCacheId");
    fake.finish_builds();
    let cache = caller.one(&id).await;
    assert_eq!(stage(&cache), ("Ready", "40%"));
    assert!(cache["FlashSnapshotId"].is_string());
    fake.finish_builds();
    let cache = caller.one(&id).await;
    assert_eq!(stage(&cache), ("Ready", "100%"));
    assert!(cache.get("FlashSnapshotId").is_none());
}

#[tokio::test]
async fn a_client_token_makes_one_cache() {
    let (fake, caller) = cloud().await;
    let token: Pairs<'_> = &[("ClientToken", "tok-1")];
    let first = caller.create("demo", token).await.ok();
    let again = caller.create("demo", token).await.ok();
    assert_eq!(first.text("/ImageCacheId"), again.text("/ImageCacheId"));
    assert_ne!(first.text("/RequestId"), again.text("/RequestId"));
    let other = caller.create("other", token).await;
    assert_eq!((other.status, other.code()), (400, "IdempotentParameterMismatch"));
    let id = first.text("/ImageCacheId");
    caller.eci("DeleteImageCache", &[("ImageCacheId", &id)]).await.ok();
    // The token outlives its cache.
    assert_eq!(caller.create("demo", token).await.ok().text("/ImageCacheId"), id);
    assert_eq!(caller.one(&id).await, Value::Null);
    assert_eq!((fake.creations(), fake.caches().len()), (1, 0));
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let (fake, caller) = cloud().await;
    let long = "t".repeat(65);
    let table: &[(&str, Pairs<'_>)] = &[
        ("InvalidParameter.ValueExceeded", &[("ImageCacheSize", "32769")]),
        ("InvalidParameter.ImageCacheSize", &[("ImageCacheSize", "20GiB")]),
        ("InvalidParameter.ValueExceeded", &[("RetentionDays", "0")]),
        (
            "InvalidParameter.EliminationStrategy",
            &[("EliminationStrategy", "lru")],
        ),
        ("InvalidParameter.Flash", &[("Flash", "yes")]),
        ("InvalidParameter.Unknown", &[("Architecture", "arm64")]),
        ("InvalidParameter.Unknown", &[("Image.3", "busybox")]),
        ("InvalidParameter.ClientToken", &[("ClientToken", &long)]),
        ("InvalidParameter.Tag", &[("Tag.1.Key", "acs:x"), ("Tag.1.Value", "1")]),
        (
            "InvalidParameter.Tag.Duplicate",
            &[("Tag.1.Key", "x"), ("Tag.2.Key", "x")],
        ),
        (
            "MissingParameter",
            &[("ImageRegistryCredential.1.Server", "a.example.com")],
        ),
        ("MissingParameter", &[("AcrRegistryInfo.1.InstanceName", "acr")]),
        (
            "InvalidParameter.PlainHttpRegistry",
            &[("PlainHttpRegistry", "\"a.example.com\"")],
        ),
        (
            "InvalidParameter.VSwitchId",
            &[("VSwitchId", "1,2,3,4,5,6,7,8,9,10,11")],
        ),
        ("InvalidParameter.Duplicate", &[("Image.1", "again")]),
    ];
    for (code, more) in table {
        let answer = caller.create("demo", more).await;
        assert_eq!((answer.status, answer.code()), (400, *code), "{more:?}");
    }
    let numbers: Vec<String> = (1..=21).map(|number| format!("Image.{number}")).collect();
    let mut images: Vec<(&str, &str)> = numbers.iter().map(|name| (name.as_str(), "busybox")).collect();
    images.push(("ImageCacheName", "demo"));
    assert_eq!(
        caller.eci("CreateImageCache", &images).await.code(),
        "InvalidParameter.Image.Exceed"
    );
    assert_eq!(
        caller.eci("CreateImageCache", &[("Image.1", "busybox")]).await.code(),
        "MissingParameter"
    );
    assert_eq!(
        caller
            .eci("CreateImageCache", &[("ImageCacheName", "demo")])
            .await
            .code(),
        "MissingParameter"
    );
    assert_eq!(
        caller.eci("DescribeImageCaches", &[("Limit", "101")]).await.code(),
        "InvalidParameter.ValueExceeded"
    );
    assert_eq!(
        caller.eci("DescribeImageCaches", &[("NextToken", "x")]).await.code(),
        "InvalidParameter.NextToken"
    );
    assert_eq!(fake.creations(), 0);
}

#[tokio::test]
async fn every_documented_parameter_is_taken() {
    let (fake, caller) = cloud().await;
    let more: Pairs<'_> = &[
        ("SecurityGroupId", "sg-1"),
        ("VSwitchId", "vsw-1,vsw-2"),
        ("ZoneId", "cn-hangzhou-g"),
        ("EipInstanceId", "eip-of-somebody"),
        ("ResourceGroupId", "rg-1"),
        ("ClientToken", "tok"),
        ("ImageCacheSize", "25"),
        ("RetentionDays", "7"),
        ("AutoMatchImageCache", "True"),
        ("ImageRegistryCredential.1.Server", "a.example.com"),
        ("ImageRegistryCredential.1.UserName", "robot$x"),
        ("ImageRegistryCredential.1.Password", "p@ss w0rd~!*'()/+&=%é密"),
        ("Tag.1.Key", "a"),
        ("Tag.1.Value", "1"),
        ("Flash", "false"),
        ("FlashCopyCount", "2"),
        ("StandardCopyCount", "3"),
        ("EliminationStrategy", "LRU"),
        ("AcrRegistryInfo.1.InstanceId", "cri-1"),
        ("AcrRegistryInfo.1.Domain.1", "r.example.com"),
        ("AcrRegistryInfo.1.ArnService", "acs:ram::1:role/a"),
        ("PlainHttpRegistry", "h.example.com:5000,192.168.1.1:80"),
        ("InsecureRegistry", "i.example.com"),
    ];
    let id = caller.create("full", more).await.ok().text("/ImageCacheId");
    let cache = caller.one(&id).await;
    assert_eq!(cache["EliminationStrategy"], "LRU");
    assert_eq!(cache["ResourceGroupId"], "rg-1");
    assert_eq!(cache["Tags"], json!([{ "Key": "a", "Value": "1" }]));
    let view = &fake.caches()[0];
    assert_eq!((view.size, view.eip.as_deref()), (25, Some("eip-of-somebody")));
    for (name, value) in more {
        assert_eq!(view.parameters.get(*name).map(String::as_str), Some(*value));
    }
    assert!(fake.secrets().contains(&"p@ss w0rd~!*'()/+&=%é密".to_owned()));
}

#[tokio::test]
async fn filters_and_pages() {
    let (fake, caller) = cloud().await;
    for number in 0..25 {
        let parity = (number % 2).to_string();
        let tags: Pairs<'_> = &[
            ("Tag.1.Key", "owner"),
            ("Tag.1.Value", "me"),
            ("Tag.2.Key", "odd"),
            ("Tag.2.Value", &parity),
        ];
        caller.create(&format!("cache-{number}"), tags).await.ok();
    }
    fake.add_foreign_cache("cache-1-of-others");
    let all = names(&caller, &[("Limit", "7")]).await;
    assert_eq!(all.len(), 26);
    assert_eq!((all[0].as_str(), all[25].as_str()), ("cache-1-of-others", "cache-0"));
    let page = caller.eci("DescribeImageCaches", &[]).await.ok();
    assert_eq!(page.body["ImageCaches"].as_array().unwrap().len(), 20);
    // A name is found inside of others.
    assert_eq!(names(&caller, &[("ImageCacheName", "cache-1")]).await.len(), 12);
    let odd: Pairs<'_> = &[
        ("Tag.1.Key", "owner"),
        ("Tag.1.Value", "me"),
        ("Tag.2.Key", "odd"),
        ("Tag.2.Value", "1"),
        ("Limit", "5"),
    ];
    assert_eq!(names(&caller, odd).await.len(), 12);
    assert_eq!(names(&caller, &[("Image", "nginx")]).await.len(), 25);
    assert_eq!(
        names(&caller, &[("MatchImage.1", "nginx:1.27"), ("Limit", "100")])
            .await
            .len(),
        25
    );
    let lookups = fake.lookups();
    assert_eq!(names(&caller, &[("ImageCacheId", "imc-unknown")]).await.len(), 0);
    assert_eq!(fake.lookups(), lookups + 1);
}

#[tokio::test]
async fn updating_builds_anew_only_with_images() {
    let (fake, caller) = cloud().await;
    let id = caller.create("demo", &[]).await.ok().text("/ImageCacheId");
    let update = async |more: Pairs<'_>| -> Answer {
        let mut all = vec![("ImageCacheId", id.as_str())];
        all.extend(more);
        caller.eci("UpdateImageCache", &all).await
    };
    assert_eq!(update(&[("Image.1", "a")]).await.code(), "ImageCache.IncorrectStatus");
    fake.finish_builds();
    assert_eq!(update(&[]).await.code(), "NoNeedUpdate");
    update(&[("RetentionDays", "3")]).await.ok();
    assert_eq!(stage(&caller.one(&id).await), ("Ready", "100%"));
    fake.fail_next_build(failed());
    update(&[("Image.1", "nginx:1.27")]).await.ok();
    assert_eq!(stage(&caller.one(&id).await), ("Updating", "10%"));
    fake.finish_builds();
    assert_eq!(stage(&caller.one(&id).await), ("UpdateFailed", "0%"));
    update(&[("Image.1", "nginx:1.28")]).await.ok();
    fake.finish_builds();
    let cache = caller.one(&id).await;
    assert_eq!(
        (stage(&cache), &cache["Images"]),
        (("Ready", "100%"), &json!(["nginx:1.28"]))
    );
}

#[tokio::test]
async fn what_is_not_documented_can_be_set() {
    let (fake, caller) = cloud().await;
    let delete = async |id: &str| caller.eci("DeleteImageCache", &[("ImageCacheId", id)]).await;
    delete("imc-unknown").await.ok();
    fake.refuse_unknown_deletes(true);
    assert_eq!(delete("imc-unknown").await.status, 404);
    let id = caller.create("demo", &[]).await.ok().text("/ImageCacheId");
    fake.refuse_deletes_while_building(true);
    assert_eq!(delete(&id).await.code(), "ImageCache.IncorrectStatus");
    fake.finish_builds();
    delete(&id).await.ok();
    fake.set_visibility_lag(Duration::from_secs(60));
    let id = caller.create("late", &[]).await.ok().text("/ImageCacheId");
    assert_eq!(caller.one(&id).await, Value::Null);
    fake.age(Duration::from_secs(61));
    assert_eq!(caller.one(&id).await["ImageCacheName"], "late");
    fake.set_status(&id, "Thawing");
    assert_eq!(caller.one(&id).await["Status"], "Thawing");
}

#[tokio::test]
async fn a_full_account_makes_room_only_where_allowed() {
    let (fake, caller) = cloud().await;
    fake.set_quota(2);
    caller.create("kept", &[]).await.ok();
    let id = caller
        .create("lru", &[("EliminationStrategy", "LRU")])
        .await
        .ok()
        .text("/ImageCacheId");
    let refused = caller.create("third", &[]).await;
    assert_eq!((refused.status, refused.code()), (403, "QuotaExceeded"));
    let usage = caller.eci("ListUsage", &[]).await.ok();
    assert_eq!(usage.body["Attributes"]["UsedImageCacheCount"], 2);
    assert_eq!(usage.body["Attributes"]["MaxImageCacheCount"], 2);
    fake.finish_builds();
    caller.create("third", &[]).await.ok();
    assert_eq!(caller.one(&id).await, Value::Null);
}

#[tokio::test]
async fn only_the_newest_events_are_kept() {
    let (fake, caller) = cloud().await;
    let id = caller.create("demo", &[]).await.ok().text("/ImageCacheId");
    for round in 0..3 {
        fake.finish_builds();
        let images: Vec<(String, String)> = (1..=20)
            .map(|number| (format!("Image.{number}"), format!("image-{round}-{number}")))
            .collect();
        let mut all: Vec<(&str, &str)> = images
            .iter()
            .map(|(name, image)| (name.as_str(), image.as_str()))
            .collect();
        all.push(("ImageCacheId", &id));
        caller.eci("UpdateImageCache", &all).await.ok();
    }
    fake.finish_builds();
    let cache = caller.one(&id).await;
    let events = cache["Events"].as_array().unwrap();
    assert_eq!(events.len(), 50);
    assert_eq!(events[49]["Message"], "Successfully pulled image image-2-20");
}
