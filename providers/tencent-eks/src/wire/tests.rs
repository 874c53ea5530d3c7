//! Bodies against captured ones.

use imagecache_cloud_http::mark::Tag;
use imagecache_core::{RegistryCredential, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::params::Parameters;

const VECTORS: &str = include_str!("../../tests/it/vectors/tc3.json");
const ANSWERS: &str = include_str!("../../tests/it/vectors/answers.json");

#[derive(Deserialize)]
struct Vector {
    name: String,
    params: Option<Value>,
}

fn captured(name: &str) -> Value {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    let vector = vectors.into_iter().find(|vector| vector.name == name);
    vector
        .and_then(|vector| vector.params)
        .unwrap_or_else(|| panic!("no vector {name}"))
}

fn body(name: &str) -> Value {
    let answers: Value = serde_json::from_str(ANSWERS).unwrap();
    answers["bodies"][name]["Response"].clone()
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn text(value: &str) -> String {
    value.to_owned()
}

/// A login; ours carry no name.
fn login(name: &str) -> RegistryCredential {
    RegistryCredential {
        server: text("ccr.ccs.tencentyun.com"),
        username: text(name),
        password: Secret::new(text("p@ss\"w\\ord/1")),
    }
}

/// The captured parameters without what we never send: names of logins, and empty lists.
fn as_we_send(mut params: Value) -> Parameters {
    params.as_object_mut().unwrap().retain(|_, value| *value != json!([]));
    let logins = params.get_mut("ImageRegistryCredentials").and_then(Value::as_array_mut);
    for login in logins.into_iter().flatten() {
        login.as_object_mut().unwrap().remove("Name");
    }
    Parameters::of(params)
}

#[test]
fn creating_with_every_parameter() {
    let request = CreateImageCache {
        name: text("demo-cache"),
        settings: Settings {
            images: vec![text("nginx:1.25.3"), text("redis:7.2")],
            security_group_ids: vec![text("sg-1cghhuuu")],
            credentials: vec![login("100000000001")],
            size_gib: Some(30),
            retention_days: Some(7),
            tags: vec![Tag {
                key: text("project"),
                value: text("tke-serverless"),
            }],
        },
        vpc_id: text("vpc-508ctkfb"),
        subnet_id: text("subnet-8ah75lo8"),
        eip: Some(Eip::Automatic(EipAttribute {
            delete_policy: String::new(),
            isp: Some(text("BGP")),
            bandwidth_mbps: Some(2),
        })),
        plain_http_registries: vec![text("http-harbor.example.com")],
        insecure_registries: vec![text("harbor.example.com")],
        resolv_conf: Some(text("nameserver 4.4.4.4\nnameserver 8.8.8.8")),
    };
    let expected = as_we_send(captured("03-create-image-cache-full"));
    assert_eq!(request.parameters().body(), expected.body());
    let existing = CreateImageCache {
        eip: Some(Eip::Existing(text("eip-1"))),
        ..request
    };
    let sent: Value = serde_json::from_str(&existing.parameters().body()).unwrap();
    assert_eq!(sent["ExistedEipId"], "eip-1");
    assert!(sent.get("AutoCreateEip").is_none() && sent.get("AutoCreateEipAttribute").is_none());
}

#[test]
fn describing_deleting_and_matching() {
    let describe = |ids: &[&str], names: &[&str], filter: &[&str], limit, offset| {
        let texts = |values: &[&str]| values.iter().map(|value| text(value)).collect::<Vec<_>>();
        let request = DescribeImageCaches {
            ids: texts(ids),
            names: texts(names),
            filters: match filter {
                [] => Vec::new(),
                values => vec![(text("image-cache-name"), texts(values))],
            },
            limit,
            offset,
        };
        request.parameters()
    };
    let list = |vector: &str, pointer: &str| -> Vec<String> {
        let params = captured(vector);
        let values = params
            .pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        values.iter().map(|value| text(value.as_str().unwrap())).collect()
    };
    for (vector, names_of_filter) in [
        ("06-describe-image-caches-by-id", false),
        ("07-describe-image-caches-filter-page", true),
        ("08-describe-image-caches-by-name", false),
        ("09-describe-image-caches-empty-params", false),
    ] {
        let params = captured(vector);
        let (ids, names) = (list(vector, "/ImageCacheIds"), list(vector, "/ImageCacheNames"));
        let values = list(vector, "/Filters/0/Values");
        assert_eq!(!values.is_empty(), names_of_filter, "{vector}");
        let borrow =
            |values: &'_ [String]| -> Vec<&'static str> { values.iter().map(|value| &*value.clone().leak()).collect() };
        let number = |name: &str| params[name].as_u64();
        let limit = number("Limit").map(|limit| u32::try_from(limit).unwrap());
        let ours = describe(
            &borrow(&ids),
            &borrow(&names),
            &borrow(&values),
            limit,
            number("Offset"),
        );
        assert_eq!(ours, Parameters::of(params), "{vector}");
    }
    let ids = list("11-delete-image-caches", "/ImageCacheIds");
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(
        delete_image_caches(&ids),
        Parameters::of(captured("11-delete-image-caches"))
    );
    let vector = "13-get-most-suitable-image-cache";
    let snapshotter = captured(vector)["Snapshotter"].as_str().map(str::to_owned);
    let ours = most_suitable_image_cache(&list(vector, "/Images"), snapshotter.as_deref());
    assert_eq!(ours, Parameters::of(captured(vector)));
}

#[test]
fn updating() {
    let params = captured("12-update-image-cache");
    let number = |name: &str| params[name].as_u64().map(|number| u32::try_from(number).unwrap());
    let texts = |name: &str| -> Vec<String> {
        let values = params[name].as_array().cloned().unwrap_or_default();
        values.iter().map(|value| text(value.as_str().unwrap())).collect()
    };
    let request = UpdateImageCache {
        id: text(params["ImageCacheId"].as_str().unwrap()),
        name: params["ImageCacheName"].as_str().map(text),
        settings: Settings {
            images: texts("Images"),
            security_group_ids: texts("SecurityGroupIds"),
            credentials: params["ImageRegistryCredentials"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| RegistryCredential {
                    server: text(one["Server"].as_str().unwrap()),
                    username: text(one["Username"].as_str().unwrap()),
                    password: Secret::new(text(one["Password"].as_str().unwrap())),
                })
                .collect(),
            size_gib: number("ImageCacheSize"),
            retention_days: number("RetentionDays"),
            tags: read(params.get("Tags").cloned().unwrap_or_else(|| json!([]))),
        },
    };
    assert_eq!(request.parameters(), as_we_send(params));
}

#[test]
fn both_published_shapes() {
    let page: CachePage = read(body("describe_old_shape"));
    let [old] = page.image_caches.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (old.status.as_str(), old.retention_days, old.events.len()),
        ("Ready", None, 3)
    );
    assert_eq!((old.creation_time.is_some(), old.expire_date_time), (true, None));
    assert!(old.events.iter().all(|event| event.first_timestamp.is_some()));
    let page: CachePage = read(body("describe_new_shape_manual_and_auto"));
    let [auto, manual] = page.image_caches.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (auto.image_cache_type.as_str(), auto.image_cache_name.as_str()),
        ("auto", "")
    );
    assert_eq!((manual.image_cache_type.as_str(), page.total_count), ("manual", 2));
    assert_eq!(manual.retention_days, Some(0));
    assert!(manual.expire_date_time.is_some_and(|moment| moment.exact));
    let suitable: Suitable = read(body("most_suitable_miss"));
    assert!(!suitable.found && suitable.image_cache.is_none());
    let created: CreatedCache = read(body("create_ok"));
    assert_eq!(created.image_cache_id, "imc-abcd1234");
    for name in ["update_ok", "delete_ok"] {
        let Acknowledged {} = read(body(name));
    }
}

#[test]
fn what_is_missing_null_or_new_hides_nothing() {
    let fields: Value = json!({"ImageCacheId": "imc-x", "Status": "Ready", "Brandnew": 1, "Images": null, "Events": null,
        "Tags": null, "ImageCacheSize": null, "RetentionDays": null, "CreationTime": null, "SnapshotId": null});
    let page: CachePage = read(json!({"ImageCaches": [fields, {"ImageCacheId": "imc-y"}]}));
    assert_eq!((page.image_caches.len(), page.total_count), (2, 0));
    // But an answer without the list is no empty list.
    assert!(serde_json::from_value::<CachePage>(json!({"TotalCount": 0})).is_err());
}
