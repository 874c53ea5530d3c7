//! Every option of a spec and of the configuration as the parameter that the service gets.

use imagecache_core::{
    AddressCharge, CacheProvider as _, CacheSpec, PublicAddress, RegistryCredential, Retention, Secret,
};
use serde_json::{Map, Value, json};

use crate::support::{Cloud, OWNER, PASSWORD, key, spec};

/// What the service was asked for.
async fn asked(defaults: Value, spec: &CacheSpec) -> Value {
    let cloud = Cloud::start().await;
    let provider = cloud.open_with(Some(OWNER), json!({"defaults": defaults})).await;
    provider.ensure(&key(spec), spec).await.unwrap();
    let parameters = cloud.only_cache().parameters.into_iter();
    // What is not a text is given as JSON.
    let read = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    Value::Object(
        parameters
            .map(|(name, value)| (name, read(value)))
            .collect::<Map<_, _>>(),
    )
}

fn tags(more: &[(&str, &str)]) -> Value {
    let own = [
        ("imagecache.dev/managed-by", "imagecache"),
        ("imagecache.dev/owner", OWNER),
        ("imagecache.dev/attempt", "1"),
    ];
    own.iter()
        .chain(more)
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

#[tokio::test]
async fn a_plain_spec_asks_for_no_more_than_it_says() {
    let digest = "sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7";
    let pinned = format!("ghcr.io/a/b@{digest}");
    let spec = CacheSpec::new(vec!["nginx".parse().unwrap(), pinned.parse().unwrap()]);
    let expected = json!({
        "ImageCacheName": key(&spec).as_str(),
        "Images": ["nginx:latest", pinned],
        "ImageCacheSize": 20,
        "VpcId": "vpc-12345678",
        "SubnetId": "subnet-12345678",
        "Tags": tags(&[]),
    });
    assert_eq!(asked(json!({}), &spec).await, expected);
}

/// A spec with every option that this cloud has.
fn full_spec() -> CacheSpec {
    let mut spec = CacheSpec {
        display_name: Some("web".to_owned()),
        size_gib: 25,
        retention: Retention::Days(7),
        platform: Some("linux/amd64".parse().unwrap()),
        credentials: vec![RegistryCredential {
            server: "registry.example.com:5000".to_owned(),
            username: "robot$puller".to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
        }],
        plain_http_registries: vec!["a.example.com".to_owned(), "b.example.com:5000".to_owned()],
        insecure_registries: vec!["c.example.com".to_owned()],
        ..spec()
    };
    // For another cloud: read by it alone.
    spec.options.flash = Some(true);
    spec.options.alibaba.security_group_id = Some("sg-alibaba".to_owned());
    spec.options.resolv_conf = Some("nameserver 1.1.1.1\n".to_owned());
    spec.options.tencent.vpc_id = Some("vpc-11111111".to_owned());
    spec.options.tencent.subnet_id = Some("subnet-11111111".to_owned());
    spec.options.tencent.security_group_ids = vec!["sg-11111111".to_owned(), "sg-22222222".to_owned()];
    spec.options.tencent.eip_attributes = Some("{\"InternetMaxBandwidthOut\":2}".to_owned());
    spec
}

/// Every default that can be configured.
fn full_defaults() -> Value {
    json!({
        "security_group_ids": ["sg-99999999"],
        "eip_id": "eip-99999999",
        "resolv_conf": "nameserver 9.9.9.9",
        "plain_http_registries": ["a.example.com", "z.example.com"],
        "insecure_registries": ["y.example.com"],
        "tags": {"team": "a b"},
    })
}

#[tokio::test]
async fn every_option_of_a_spec_arrives() {
    let spec = full_spec();
    let mut expected = json!({
        "ImageCacheName": key(&spec).as_str(),
        "Images": ["registry.example.com/app/web:1.2.3"],
        "ImageCacheSize": 25,
        "RetentionDays": 7,
        "VpcId": "vpc-11111111",
        "SubnetId": "subnet-11111111",
        "SecurityGroupIds": ["sg-11111111", "sg-22222222"],
        "ImageRegistryCredentials": [{"Server": "registry.example.com:5000", "Username": "robot$puller", "Password": PASSWORD}],
        "AutoCreateEip": true,
        "AutoCreateEipAttribute": {"DeletePolicy": "", "InternetMaxBandwidthOut": 2},
        "RegistryHttpEndPointList": ["a.example.com", "b.example.com:5000"],
        "RegistrySkipVerifyList": ["c.example.com"],
        "ResolveConfig": "nameserver 1.1.1.1\n",
        "Tags": tags(&[("imagecache.dev/retention-days", "7")]),
    });
    assert_eq!(asked(json!({}), &spec).await, expected);
    // What the spec says wins over every default; lists of registries are one.
    expected["RegistryHttpEndPointList"] = json!(["a.example.com", "b.example.com:5000", "z.example.com"]);
    expected["RegistrySkipVerifyList"] = json!(["c.example.com", "y.example.com"]);
    expected["Tags"] = tags(&[("imagecache.dev/retention-days", "7"), ("team", "a b")]);
    assert_eq!(asked(full_defaults(), &spec).await, expected);
}

#[tokio::test]
async fn every_default_fills_in_what_the_spec_leaves_out() {
    let spec = spec();
    let expected = json!({
        "ImageCacheName": key(&spec).as_str(),
        "Images": ["registry.example.com/app/web:1.2.3"],
        "ImageCacheSize": 20,
        "VpcId": "vpc-12345678",
        "SubnetId": "subnet-12345678",
        "SecurityGroupIds": ["sg-99999999"],
        "ExistedEipId": "eip-99999999",
        "RegistryHttpEndPointList": ["a.example.com", "z.example.com"],
        "RegistrySkipVerifyList": ["y.example.com"],
        "ResolveConfig": "nameserver 9.9.9.9",
        "Tags": tags(&[("team", "a b")]),
    });
    assert_eq!(asked(full_defaults(), &spec).await, expected);
}

#[tokio::test]
async fn a_public_address_is_made_by_the_service() {
    let mut spec = spec();
    spec.options.public_address = Some(PublicAddress {
        bandwidth_mbps: Some(10),
        charge: Some(AddressCharge::Traffic),
        isp: Some("BGP".to_owned()),
    });
    let asked = asked(full_defaults(), &spec).await;
    let expected = json!({"DeletePolicy": "", "InternetServiceProvider": "BGP", "InternetMaxBandwidthOut": 10});
    assert_eq!(asked["AutoCreateEipAttribute"], expected);
    assert!(asked.get("ExistedEipId").is_none(), "one excludes the other");
}

#[tokio::test]
async fn a_subnet_of_ones_own_is_in_the_configured_vpc_unless_that_is_named_too() {
    for (vpc, subnet, expected) in [
        (None, Some("subnet-own"), ("vpc-12345678", "subnet-own")),
        (Some("vpc-own"), Some("subnet-own"), ("vpc-own", "subnet-own")),
        (Some("vpc-own"), None, ("vpc-own", "subnet-12345678")),
    ] {
        let mut spec = spec();
        spec.options.tencent.vpc_id = vpc.map(str::to_owned);
        spec.options.tencent.subnet_id = subnet.map(str::to_owned);
        let asked = asked(json!({}), &spec).await;
        let sent = (asked["VpcId"].as_str().unwrap(), asked["SubnetId"].as_str().unwrap());
        assert_eq!(sent, expected, "{vpc:?} {subnet:?}");
    }
}
