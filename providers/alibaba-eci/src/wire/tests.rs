//! Typed requests against what the vendor's SDK sent for the same, and answers of every documented shape.

use imagecache_cloud_http::mark::Tag;
use imagecache_core::{RegistryCredential, Secret};
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::params::Parameters;

const VECTORS: &str = include_str!("../../tests/it/vectors/v3.json");
const ANSWERS: &str = include_str!("../../tests/it/vectors/answers.json");
const REGION: &str = "cn-hangzhou";

#[derive(Deserialize)]
struct Vector {
    name: String,
    pairs: Vec<(String, String)>,
}

/// What the SDK sent; its booleans are capitalised in some captures, and we always write them small.
fn captured(name: &str) -> Vec<(String, String)> {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    let vector = vectors.into_iter().find(|vector| vector.name == name).unwrap();
    let small = |value: String| match value.as_str() {
        "True" => "true".to_owned(),
        "False" => "false".to_owned(),
        _ => value,
    };
    let mut pairs: Vec<_> = vector
        .pairs
        .into_iter()
        .map(|(name, value)| (name, small(value)))
        .collect();
    pairs.sort();
    pairs
}

fn check(name: &str, parameters: &Parameters) {
    let ours: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(ours, captured(name), "{name}");
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn login(server: &str, username: &str, password: &str) -> RegistryCredential {
    RegistryCredential {
        server: server.to_owned(),
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    }
}

fn full() -> CreateImageCache {
    CreateImageCache {
        name: "testcache".to_owned(),
        settings: Settings {
            images: texts(&[
                "registry.cn-shanghai.aliyuncs.com/eci_open/nginx:1.14.2",
                "busybox@sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7",
            ]),
            security_group_id: text("sg-uf66jeqopgqa9hdntest"),
            vswitch_ids: texts(&["vsw-aaaatest", "vsw-bbbbtest"]),
            eip_instance_id: text("eip-2zedsm5mfl3uhdj2test"),
            resource_group_id: text("rg-aekzh43vtest"),
            client_token: text("123e4567-e89b-12d3-a456-426655440000"),
            size_gib: Some(25),
            retention_days: Some(7),
            layer_reuse: Some(true),
            credentials: vec![
                login("harbor.example.com:5000", "robot$puller", "p@ss w0rd~!*'()/+&=%é密"),
                login("registry.example.com", "u2", "pw2"),
            ],
            tags: vec![
                tag("managed-by", "imagecache-controller"),
                tag("k8s.uid", "e83a1c53-f663-11e9-a0d4-fa13fc175b32"),
            ],
            flash: Some(false),
            flash_copies: Some(2),
            standard_copies: Some(3),
            elimination_strategy: text("LRU"),
            acr_registries: vec![AcrRegistry {
                instance_id: "cri-nwj395hgf6f3test".to_owned(),
                instance_name: text("acr-test"),
                region_id: text("cn-beijing"),
                domains: texts(&[
                    "a-registry.cn-beijing.cr.aliyuncs.com",
                    "b-registry-vpc.cn-beijing.cr.aliyuncs.com",
                ]),
                service_arn: text("acs:ram::1609982529:role/role-assume"),
                user_arn: text("acs:ram::1298452580:role/role-acr"),
            }],
        },
        zone_id: text("cn-hangzhou-g"),
        plain_http_registries: texts(&["harbor.example.com:5000", "192.168.1.1:80"]),
        insecure_registries: texts(&["reg.example.com"]),
    }
}

fn create(name: &str, token: &str, images: Vec<String>) -> CreateImageCache {
    CreateImageCache {
        name: name.to_owned(),
        settings: Settings {
            images,
            client_token: text(token),
            ..Settings::default()
        },
        ..CreateImageCache::default()
    }
}

#[test]
fn creating() {
    check("v3-create-full-lowercase-bool", &full().parameters(REGION));
    let minimal = create("testcache", "tok-1", texts(&["nginx:1.14.2"]));
    check("v3-create-minimal", &minimal.parameters(REGION));
    check("v3-create-minimal-sts", &minimal.parameters(REGION));
    let twelve = (1..=12)
        .map(|n| format!("registry.example.com/app/i{n:02}:1"))
        .collect();
    check(
        "v3-create-12-images",
        &create("order", "tok-4", twelve).parameters(REGION),
    );
}

#[test]
fn updating_leaves_out_what_the_action_does_not_know() {
    let update = UpdateImageCache {
        id: "imc-2zebxkiifuyzzlhltest".to_owned(),
        name: None,
        settings: Settings {
            images: texts(&["nginx:1.15"]),
            client_token: text("tok-3"),
            retention_days: Some(30),
            elimination_strategy: text("LRU"),
            ..Settings::default()
        },
    };
    check("v3-update", &update.parameters(REGION));
    let full = UpdateImageCache {
        settings: full().settings,
        ..update
    };
    let parameters = full.parameters(REGION);
    assert_eq!(parameters.get("AcrRegistryInfo.1.InstanceName"), Some("acr-test"));
    for unknown in [
        "AcrRegistryInfo.1.ArnService",
        "AcrRegistryInfo.1.ArnUser",
        "ZoneId",
        "PlainHttpRegistry",
        "InsecureRegistry",
    ] {
        assert_eq!(parameters.get(unknown), None, "{unknown}");
    }
}

#[test]
fn describing_and_deleting() {
    check(
        "v3-describe-minimal",
        &DescribeImageCaches::default().parameters(REGION),
    );
    let by_id = DescribeImageCaches {
        id: text("imc-2ze5tm5gehgtiigatest"),
        ..DescribeImageCaches::default()
    };
    check("v3-describe-by-id-sts", &by_id.parameters(REGION));
    let matching = DescribeImageCaches {
        tags: vec![tag("owner", "imagecache controller")],
        match_images: texts(&[
            "registry-vpc.cn-hangzhou.aliyuncs.com/eci_open/nginx:1.15.10-perl",
            "busybox:1.30",
        ]),
        full_match: Some(true),
        match_count: Some(2),
        limit: Some(20),
        next_token: text("AAAAAdDWBF2/+=="),
        ..DescribeImageCaches::default()
    };
    check("v3-describe-match", &matching.parameters(REGION));
    let delete = captured("v3-delete");
    let value = |name: &str| {
        delete
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let request = DeleteImageCache {
        id: value("ImageCacheId").unwrap(),
        client_token: value("ClientToken"),
    };
    check("v3-delete", &request.parameters(REGION));
    check("v3-list-usage", &request::in_region(REGION));
}

fn body(name: &str) -> Value {
    let answers: Value = serde_json::from_str(ANSWERS).unwrap();
    answers.pointer(&format!("/{name}/body")).unwrap().clone()
}

#[test]
fn every_documented_answer_is_read() {
    let created: CreatedCache = serde_json::from_value(body("create_200")).unwrap();
    assert_eq!(created.image_cache_id, "imc-2zedemo0000000000001");
    assert_eq!(created.container_group_id, "eci-2zedemo0000000000001");
    for name in ["delete_200", "update_200"] {
        serde_json::from_value::<Acknowledged>(body(name)).unwrap();
    }
    let usage: Usage = serde_json::from_value(body("list_usage_200")).unwrap();
    assert_eq!(usage.attributes.used_image_cache_count, Some(3));
    assert_eq!(usage.attributes.max_image_cache_count, Some(100));
    for (name, status, progress, events) in [
        ("describe_preparing", "Preparing", "0%", 1),
        ("describe_creating", "Creating", "5%", 0),
        ("describe_ready", "Ready", "100%", 0),
        ("describe_ready_flash", "Ready", "40%", 0),
        ("describe_failed", "Failed", "0%", 1),
        ("describe_updating", "Updating", "10%", 0),
        ("describe_update_failed", "UpdateFailed", "0%", 0),
        ("describe_page_1", "Ready", "100%", 0),
    ] {
        let page: CachePage = serde_json::from_value(body(name)).unwrap();
        let [entry] = page.image_caches.as_slice() else {
            panic!("{name} has one cache")
        };
        assert_eq!(
            (entry.status.as_str(), entry.progress.as_str()),
            (status, progress),
            "{name}"
        );
        assert_eq!(entry.image_cache_size, 25, "{name}");
        assert_eq!(entry.tags, [tag("managed-by", "imagecache-controller")], "{name}");
        assert_eq!(entry.events.len(), events, "{name}");
        assert!(entry.creation_time.is_some(), "{name}");
        assert_eq!(page.next_token.is_empty(), name != "describe_page_1", "{name}");
    }
    let none: CachePage = serde_json::from_value(body("describe_none")).unwrap();
    assert_eq!(none.image_caches, []);
}

#[test]
fn nulls_and_odd_times_hide_nothing() {
    let page: CachePage = serde_json::from_str(
        r#"{"ImageCaches":[{"ImageCacheId":"imc-1","Tags":null,"Events":null,"Images":null,"CreationTime":"soon","ExpireDateTime":"","Status":null,"New":{"Field":1}}],"NextToken":null}"#,
    )
    .unwrap();
    let expected = CacheEntry {
        image_cache_id: "imc-1".to_owned(),
        ..CacheEntry::default()
    };
    assert_eq!(page.image_caches, [expected]);
    // What is no list of caches is not an empty list.
    for bad in ["{}", r#"{"ImageCaches":null}"#, r#"{"ImageCaches":{}}"#, "[]"] {
        assert!(serde_json::from_str::<CachePage>(bad).is_err(), "{bad}");
    }
}
