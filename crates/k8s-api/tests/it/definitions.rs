//! The resource definitions are what the vendors publish and what old API servers accept.

use imagecache_k8s_api::crds;
use serde_json::{Value, json};

fn definitions() -> Vec<Value> {
    crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect()
}

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

#[test]
fn names_scope_and_columns_are_the_published_ones() {
    let expected = [
        (
            "imagecaches.eci.alibabacloud.com",
            json!(["ic"]),
            vec![
                ("Age", ".metadata.creationTimestamp"),
                ("CacheId", ".status.imageCacheId"),
                ("Phase", ".status.phase"),
                ("Progress", ".status.progress"),
            ],
        ),
        (
            "imagecaches.eks.cloud.tencent.com",
            json!(["imc"]),
            vec![
                ("CacheSize", ".spec.imageCacheSize"),
                ("ImcId", ".status.imcId"),
                ("Phase", ".status.imcPhase"),
                ("Age", ".metadata.creationTimestamp"),
            ],
        ),
    ];
    for (definition, (name, short, columns)) in definitions().iter().zip(expected) {
        let spec = &definition["spec"];
        assert_eq!(definition["metadata"]["name"], name);
        assert_eq!(spec["scope"], "Cluster", "{name}");
        assert_eq!(spec["names"]["kind"], "ImageCache", "{name}");
        assert_eq!(spec["names"]["plural"], "imagecaches", "{name}");
        assert_eq!(spec["names"]["singular"], "imagecache", "{name}");
        assert_eq!(spec["names"]["shortNames"], short, "{name}");
        let version = &spec["versions"][0];
        assert_eq!(version["name"], "v1", "{name}");
        assert_eq!(version["subresources"]["status"], json!({}), "{name}");
        let found: Vec<(&str, &str)> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| (column["name"].as_str().unwrap(), column["jsonPath"].as_str().unwrap()))
            .collect();
        assert_eq!(found, columns, "{name}");
    }
    assert_eq!(definitions()[0]["spec"]["names"]["categories"], json!(["all"]));
}

#[test]
fn documented_ranges_and_defaults_are_in_the_schema() {
    let [alibaba, tencent] = &definitions()[..] else {
        panic!("two definitions")
    };
    for (name, definition, field, keyword, expected) in [
        ("alibaba images", alibaba, "images", "minItems", json!(1)),
        ("alibaba images", alibaba, "images", "maxItems", json!(20)),
        ("alibaba size", alibaba, "imageCacheSize", "minimum", json!(20.0)),
        ("alibaba size", alibaba, "imageCacheSize", "maximum", json!(32768.0)),
        ("alibaba size", alibaba, "imageCacheSize", "default", Value::Null),
        ("alibaba days", alibaba, "retentionDays", "minimum", json!(1.0)),
        ("alibaba days", alibaba, "retentionDays", "maximum", json!(65536.0)),
        ("tencent images", tencent, "images", "minItems", json!(1)),
        ("tencent size", tencent, "imageCacheSize", "minimum", json!(20.0)),
        ("tencent size", tencent, "imageCacheSize", "maximum", Value::Null),
        ("tencent size", tencent, "imageCacheSize", "default", json!(20)),
        ("tencent size", tencent, "imageCacheSize", "format", json!("int32")),
        ("tencent days", tencent, "retentionDays", "minimum", json!(0.0)),
        ("tencent days", tencent, "retentionDays", "maximum", json!(3650.0)),
        ("tencent days", tencent, "retentionDays", "default", json!(0)),
        ("tencent groups", tencent, "securityGroupIds", "type", json!("array")),
    ] {
        let found = &schema(definition)["properties"]["spec"]["properties"][field][keyword];
        assert_eq!(*found, expected, "{name} {keyword}");
    }
    for definition in [alibaba, tencent] {
        assert_eq!(schema(definition)["properties"]["spec"]["required"], json!(["images"]));
    }
}

/// Keywords that a structural schema of Kubernetes 1.20 may have.
const KEYWORDS: [&str; 16] = [
    "default",
    "description",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "nullable",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "enum",
];

fn check_structure(path: &str, schema: &Value) {
    let object = schema.as_object().unwrap_or_else(|| panic!("{path} is no object"));
    for keyword in object.keys() {
        assert!(KEYWORDS.contains(&keyword.as_str()), "{path}: keyword {keyword}");
    }
    assert!(object.contains_key("type"), "{path} has no type");
    for (name, property) in object
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        check_structure(&format!("{path}.{name}"), property);
    }
    if let Some(items) = object.get("items") {
        check_structure(&format!("{path}[]"), items);
    }
}

#[test]
fn schemas_are_structural_and_described() {
    for definition in definitions() {
        let name = definition["metadata"]["name"].as_str().unwrap();
        check_structure(name, schema(&definition));
        for part in ["spec", "status"] {
            let properties = &schema(&definition)["properties"][part]["properties"];
            for (field, property) in properties.as_object().unwrap() {
                assert!(
                    property["description"].is_string(),
                    "{name} {part}.{field} has no description"
                );
            }
        }
    }
}

#[test]
fn status_has_every_published_field() {
    for (definition, fields) in definitions().iter().zip([
        &[
            "phase",
            "progress",
            "reason",
            "imageCacheId",
            "startTime",
            "lastUpdatedTime",
            "expireDateTime",
            "events",
            "conditions",
            "observedGeneration",
            "cacheKey",
        ][..],
        &[
            "imcId",
            "imcPhase",
            "snapshotId",
            "conditions",
            "observedGeneration",
            "cacheKey",
        ],
    ]) {
        let properties = &schema(definition)["properties"]["status"]["properties"];
        for field in fields {
            assert!(
                properties[field].is_object(),
                "{} lacks {field}",
                definition["metadata"]["name"]
            );
        }
    }
}
