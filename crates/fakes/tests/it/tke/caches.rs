//! What becomes of caches, and how they are found.

use std::time::Duration;

use imagecache_fakes::tke::{BuildEnd, FakeTke, Pace, Shape};
use jiff::Timestamp;
use jiff::fmt::strtime;
use serde_json::{Value, json};

use super::support::{Caller, wanted};

async fn start() -> (FakeTke, Caller) {
    let fake = FakeTke::start().await;
    fake.set_rate(None);
    let caller = Caller::new(&fake);
    (fake, caller)
}

fn reasons(cache: &Value) -> Vec<String> {
    let events = cache["Events"].as_array().unwrap().iter();
    let text = |event: &Value| {
        format!(
            "{} {}",
            event["Type"].as_str().unwrap(),
            event["Reason"].as_str().unwrap()
        )
    };
    events.map(text).collect()
}

fn is_id(value: &Value, prefix: &str) -> bool {
    let rest = value.as_str().unwrap().strip_prefix(prefix);
    rest.is_some_and(|rest| {
        rest.len() == 8
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

#[tokio::test]
async fn a_cache_is_built_used_and_deleted() {
    let (fake, caller) = start().await;
    fake.set_shape(Shape::New);
    let more = json!({
        "ImageCacheSize": 30,
        "Tags": [{"Key": "a", "Value": "b"}],
        "ImageRegistryCredentials": [{"Server": "ccr.example.com", "Username": "u", "Password": "p@ss", "Name": "n"}],
    });
    let id = caller.create_with("a", more).await;
    let cache = caller.one(&id).await;
    assert!(is_id(&cache["ImageCacheId"], "imc-"), "{cache}");
    for (field, expected) in [
        ("ImageCacheName", json!("a")),
        ("ImageCacheSize", json!(30)),
        ("Images", json!(["nginx:1.27"])),
        ("Status", json!("Pending")),
        ("SnapshotId", json!("")),
        ("LastMatchedTime", json!("")),
        ("RetentionDays", json!(0)),
        ("ImageCacheType", json!("manual")),
        ("Tags", json!([{"Key": "a", "Value": "b"}])),
        (
            "ImageRegistryCredentials",
            json!([{"Server": "ccr.example.com", "Username": "u", "Password": "p@ss", "Name": "n"}]),
        ),
    ] {
        assert_eq!(cache[field], expected, "{field}");
    }
    assert_eq!(reasons(&cache), ["Normal DiskCreated", "Normal EksCiCreated"]);
    let suitable = json!({"Images": ["nginx:1.27"]});
    let miss = caller.tke("GetMostSuitableImageCache", suitable.clone()).await.ok();
    assert_eq!(
        (&miss["Found"], miss.get("ImageCache")),
        (&json!(false), Some(&Value::Null))
    );

    fake.finish_builds();
    let cache = caller.one(&id).await;
    assert_eq!(cache["Status"], "Ready");
    assert!(is_id(&cache["SnapshotId"], "snap-"), "{cache}");
    let rest = ["Normal SnapCreated", "Normal EksCiDeleted", "Normal DiskDeleted"];
    assert_eq!(reasons(&cache).get(2..), Some(rest.map(str::to_owned).as_slice()));
    let hit = caller.tke("GetMostSuitableImageCache", suitable).await.ok();
    assert_eq!(
        (&hit["Found"], &hit["ImageCache"]["ImageCacheId"]),
        (&json!(true), &json!(id))
    );
    assert_ne!(caller.one(&id).await["LastMatchedTime"], "");

    caller
        .tke("DeleteImageCaches", json!({"ImageCacheIds": [id]}))
        .await
        .ok();
    assert_eq!(caller.describe(json!({"ImageCacheIds": [id]})).await["TotalCount"], 0);
    assert_eq!((fake.creations(), fake.caches().len()), (1, 0));
}

#[tokio::test]
async fn the_same_call_twice_makes_two_caches() {
    let (fake, caller) = start().await;
    let (first, second) = (caller.create("same").await, caller.create("same").await);
    assert_ne!(first, second);
    assert_eq!(fake.creations(), 2);
    assert_eq!(caller.ids(json!({"ImageCacheNames": ["same"]})).await, [second, first]);
}

#[tokio::test]
async fn builds_take_time_fail_or_hang() {
    let (fake, caller) = start().await;
    let pace = Pace::After {
        preparing: Duration::from_secs(60),
        creating: Duration::from_secs(60),
    };
    fake.set_pace(pace);
    fake.set_shape(Shape::New);
    let first = caller.create("first").await;
    fake.age(Duration::from_secs(119));
    assert_eq!(caller.one(&first).await["Status"], "Pending");
    fake.age(Duration::from_secs(1));
    assert_eq!(caller.one(&first).await["Status"], "Ready");

    let failed = BuildEnd::Failed {
        reason: "ImagePullFailed".to_owned(),
        message: "no such image".to_owned(),
    };
    fake.fail_next_build(failed.clone());
    let second = caller.create("second").await;
    fake.age(Duration::from_secs(120));
    let cache = caller.one(&second).await;
    assert_eq!((&cache["Status"], &cache["SnapshotId"]), (&json!("Failed"), &json!("")));
    assert_eq!(
        reasons(&cache).get(2).map(String::as_str),
        Some("Warning ImagePullFailed")
    );
    assert!(fake.caches()[1].events.contains(&"no such image".to_owned()));

    fake.fail_next_build(BuildEnd::Hangs);
    let third = caller.create("third").await;
    fake.age(Duration::from_secs(90 * 24 * 3600));
    fake.finish_builds();
    assert_eq!(caller.one(&third).await["Status"], "Pending");
    fake.set_status(&third, "Confused");
    assert_eq!(caller.one(&third).await["Status"], "Confused");

    fake.fail_next_build(failed);
    let update = json!({"ImageCacheId": first, "Images": ["nginx:1.28"]});
    caller.tke("UpdateImageCache", update.clone()).await.ok();
    assert_eq!(caller.one(&first).await["Status"], "Updating");
    assert_eq!(
        caller.tke("UpdateImageCache", update.clone()).await.code(),
        "UnsupportedOperation"
    );
    fake.finish_builds();
    assert_eq!(caller.one(&first).await["Status"], "UpdateFailed");
    caller.tke("UpdateImageCache", update).await.ok();
    fake.finish_builds();
    let cache = caller.one(&first).await;
    assert_eq!(
        (&cache["Status"], &cache["Images"]),
        (&json!("Ready"), &json!(["nginx:1.28"]))
    );
}

#[tokio::test]
async fn an_update_keeps_what_it_does_not_name() {
    let (fake, caller) = start().await;
    fake.set_shape(Shape::New);
    let id = caller
        .create_with("before", json!({"ImageCacheSize": 40, "RetentionDays": 9}))
        .await;
    let rename = json!({"ImageCacheId": id, "ImageCacheName": "after"});
    assert_eq!(
        caller.tke("UpdateImageCache", rename.clone()).await.code(),
        "UnsupportedOperation"
    );
    fake.finish_builds();
    caller.tke("UpdateImageCache", rename).await.ok();
    assert!(caller.ids(json!({"ImageCacheNames": ["before"]})).await.is_empty());
    assert_eq!(caller.ids(json!({"ImageCacheNames": ["after"]})).await, [id.as_str()]);
    let cache = caller.one(&id).await;
    let kept = [&cache["ImageCacheSize"], &cache["RetentionDays"], &cache["Status"]];
    assert_eq!(kept, [&json!(40), &json!(9), &json!("Ready")]);
    let unknown = json!({"ImageCacheId": "imc-unknown1"});
    assert_eq!(caller.tke("UpdateImageCache", unknown).await.code(), "ResourceNotFound");
}

#[tokio::test]
async fn describe_finds_and_pages() {
    let (fake, caller) = start().await;
    let mut ids = Vec::new();
    for name in ["a", "ab", "b", "a"] {
        ids.push(caller.create(name).await);
    }
    let filter = |values: &[&str]| json!({"Name": "image-cache-name", "Values": values});
    let rows = [
        ("all", json!({}), vec![3, 2, 1, 0]),
        ("id", json!({"ImageCacheIds": [ids[1]]}), vec![1]),
        (
            "unknown id",
            json!({"ImageCacheIds": ["imc-unknown1", ids[2]]}),
            vec![2],
        ),
        ("only unknown", json!({"ImageCacheIds": ["imc-unknown1"]}), vec![]),
        ("name", json!({"ImageCacheNames": ["a"]}), vec![3, 0]),
        ("names", json!({"ImageCacheNames": ["b", "ab"]}), vec![2, 1]),
        ("filter", json!({"Filters": [filter(&["a"])]}), vec![3, 0]),
        (
            "values are ored",
            json!({"Filters": [filter(&["a", "b"])]}),
            vec![3, 2, 0],
        ),
        (
            "filters are anded",
            json!({"Filters": [filter(&["a", "b"]), filter(&["b", "ab"])]}),
            vec![2],
        ),
        (
            "name and id",
            json!({"ImageCacheNames": ["a"], "ImageCacheIds": [ids[0], ids[1]]}),
            vec![0],
        ),
        (
            "name and filter",
            json!({"ImageCacheNames": ["a"], "Filters": [filter(&["b"])]}),
            vec![],
        ),
        (
            "empty lists",
            json!({"ImageCacheNames": [], "ImageCacheIds": [], "Filters": []}),
            vec![3, 2, 1, 0],
        ),
        ("page", json!({"Limit": 2, "Offset": 1}), vec![2, 1]),
        ("last page", json!({"Limit": 3, "Offset": 3}), vec![0]),
        ("beyond", json!({"Limit": 3, "Offset": 4}), vec![]),
    ];
    for (name, parameters, expected) in &rows {
        let expected: Vec<&String> = expected.iter().map(|index: &usize| &ids[*index]).collect();
        assert_eq!(
            caller.ids(parameters.clone()).await.iter().collect::<Vec<_>>(),
            expected,
            "{name}"
        );
    }
    assert_eq!(caller.describe(json!({"Limit": 1, "Offset": 9})).await["TotalCount"], 4);
    assert_eq!(fake.lookups(), 10);
    fake.match_names_loosely(true);
    assert_eq!(caller.ids(json!({"ImageCacheNames": ["a"]})).await.len(), 3);
    assert_eq!(caller.ids(json!({"Filters": [filter(&["b"])]})).await.len(), 2);
}

#[tokio::test]
async fn deleting_is_for_many_and_may_be_partial() {
    let (fake, caller) = start().await;
    let (a, b, c) = (
        caller.create("a").await,
        caller.create("b").await,
        caller.create("c").await,
    );
    let foreign = fake.add_foreign_cache("c");
    let answer = caller
        .tke("DeleteImageCaches", json!({"ImageCacheIds": [a, "imc-unknown1", b]}))
        .await;
    assert_eq!(answer.code(), "ResourceNotFound");
    assert_eq!(caller.ids(json!({})).await, [foreign.clone(), c.clone()]);
    fake.refuse_deletes_while_building(true);
    let answer = caller
        .tke("DeleteImageCaches", json!({"ImageCacheIds": [c, foreign]}))
        .await;
    assert_eq!(answer.code(), "ResourceInUse");
    assert_eq!(caller.ids(json!({})).await, [c]);
}

#[tokio::test]
async fn the_smallest_then_the_newest_cache_is_most_suitable() {
    let (fake, caller) = start().await;
    for (name, size, images) in [
        ("large", 40, json!(["nginx:1", "redis:7"])),
        ("old", 30, json!(["nginx:1", "redis:7", "alpine:3"])),
        ("new", 30, json!(["redis:7", "nginx:1"])),
        ("small", 20, json!(["nginx:1"])),
    ] {
        caller
            .create_with(name, json!({"ImageCacheSize": size, "Images": images}))
            .await;
    }
    fake.finish_builds();
    caller
        .create_with("pending", json!({"Images": ["nginx:1", "redis:7"]}))
        .await;
    for (name, parameters, expected) in [
        ("one", json!({"Images": ["nginx:1"]}), "small"),
        ("two", json!({"Images": ["nginx:1", "redis:7"]}), "new"),
        (
            "snapshotter",
            json!({"Images": ["alpine:3"], "Snapshotter": "overlay"}),
            "old",
        ),
        (
            "another snapshotter",
            json!({"Images": ["alpine:3"], "Snapshotter": "erofs"}),
            "",
        ),
        ("another spelling", json!({"Images": ["docker.io/library/nginx:1"]}), ""),
        ("part", json!({"Images": ["nginx:1", "busybox:1"]}), ""),
    ] {
        let found = caller.tke("GetMostSuitableImageCache", parameters).await.ok();
        let name_found = found["ImageCache"]["ImageCacheName"].as_str().unwrap_or("");
        assert_eq!(
            (name_found, &found["Found"]),
            (expected, &json!(!expected.is_empty())),
            "{name}"
        );
    }
}

#[tokio::test]
async fn caches_appear_late_and_end_in_time() {
    let (fake, caller) = start().await;
    fake.set_visibility_lag(Duration::from_secs(10));
    let id = caller.create_with("a", json!({"RetentionDays": 2})).await;
    fake.finish_builds();
    assert_eq!(caller.describe(json!({})).await["TotalCount"], 0);
    assert!(caller.ids(json!({"ImageCacheNames": ["a"]})).await.is_empty());
    assert_eq!(caller.one(&id).await, Value::Null);
    fake.age(Duration::from_secs(11));
    assert_eq!(caller.ids(json!({"ImageCacheNames": ["a"]})).await, [id]);
    fake.age(Duration::from_secs(2 * 24 * 3600 - 20));
    assert_eq!(fake.caches().len(), 1);
    fake.age(Duration::from_secs(10));
    assert_eq!(caller.describe(json!({})).await["TotalCount"], 0);
    assert_eq!((fake.caches().len(), fake.creations()), (0, 1));
}

#[tokio::test]
async fn what_others_made_is_there_too() {
    let (fake, caller) = start().await;
    fake.set_shape(Shape::Fields);
    let (foreign, automatic) = (fake.add_foreign_cache("theirs"), fake.add_automatic_cache());
    assert_eq!(fake.creations(), 0);
    assert_eq!(caller.one(&foreign).await["ImageCacheName"], "theirs");
    let cache = caller.one(&automatic).await;
    assert_eq!(
        (&cache["ImageCacheType"], &cache["ImageCacheName"]),
        (&json!("auto"), &json!(""))
    );
}

#[tokio::test]
async fn every_published_shape_is_shown() {
    let (fake, caller) = start().await;
    let nanoseconds = "%Y-%m-%d %H:%M:%S.%f +0800 CST m=+893.262707991";
    let go = "%Y-%m-%d %H:%M:%S +0000 UTC";
    let rfc3339 = "%Y-%m-%dT%H:%M:%SZ";
    let bare = "%Y-%m-%d %H:%M:%S";
    for (shape, created, expires, matched, event) in [
        (Shape::New, go, go, nanoseconds, go),
        (Shape::Old, bare, "", bare, bare),
        (Shape::Fields, rfc3339, rfc3339, rfc3339, "milliseconds"),
    ] {
        fake.set_shape(shape);
        let id = caller.create("a").await;
        fake.finish_builds();
        caller
            .tke("GetMostSuitableImageCache", json!({"Images": ["nginx:1.27"]}))
            .await
            .ok();
        let cache = caller.one(&id).await;
        let event_time = &cache["Events"][0]["FirstTimestamp"];
        for (text, format) in [
            (&cache["CreationTime"], created),
            (&cache["ExpireDateTime"], expires),
            (&cache["LastMatchedTime"], matched),
            (event_time, event),
        ] {
            let text = text.as_str().unwrap();
            let parses = match format {
                "milliseconds" => text
                    .parse()
                    .is_ok_and(|millis| Timestamp::from_millisecond(millis).is_ok()),
                "" => text.is_empty(),
                format => strtime::parse(format, text).is_ok(),
            };
            assert!(parses, "{shape:?}: {text:?} is not {format:?}");
        }
        assert_eq!(cache.get("ImageCacheType").is_some(), shape != Shape::Old);
        let newest_first = reasons(&cache)[0] != "Normal DiskCreated";
        assert_eq!(newest_first, shape == Shape::Old, "{cache}");
    }
    // All three are shown side by side when nothing else was said.
    fake.set_shape(Shape::Mixed);
    let found = caller.describe(json!({})).await;
    let lengths = |cache: &Value| cache["CreationTime"].as_str().unwrap().len();
    let mut lengths: Vec<usize> = found["ImageCaches"].as_array().unwrap().iter().map(lengths).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [19, 20, 29]);
}

#[tokio::test]
async fn five_thousand_caches_are_cheap() {
    let (fake, caller) = start().await;
    let started = std::time::Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..20 {
        let caller = caller.clone();
        workers.spawn(async move {
            for number in 0..250 {
                let name = format!("cache-{worker}-{number}");
                caller.tke("CreateImageCache", wanted(&name, json!({}))).await.ok();
            }
        });
    }
    workers.join_all().await;
    fake.finish_builds();
    let mut seen = std::collections::HashSet::new();
    for page in 0..100 {
        let page = json!({"Limit": 50, "Offset": page * 50});
        seen.extend(caller.ids(page).await);
    }
    assert_eq!((fake.creations(), seen.len()), (5_000, 5_000));
    for number in 0..250 {
        let found = caller
            .ids(json!({"ImageCacheNames": [format!("cache-7-{number}")]}))
            .await;
        assert_eq!(found.len(), 1);
    }
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
}
