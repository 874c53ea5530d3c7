//! Every option of a spec and of the configuration as the parameter that the service gets.

use std::collections::BTreeMap;

use imagecache_core::{
    AcrInstance, AddressCharge, CacheProvider as _, CacheSpec, PublicAddress, RegistryCredential, Retention, Secret,
};
use imagecache_fakes::eci::Pace;
use serde_json::{Value, json};

use crate::support::{Cloud, OWNER, PASSWORD, key, spec};

/// Parameters that every call has.
const ALWAYS: [&str; 2] = ["ClientToken", "RegionId"];

/// What the service was asked for, without what every call has and without our tags.
async fn asked(cloud: &Cloud, defaults: Value, spec: &CacheSpec) -> BTreeMap<String, String> {
    let provider = cloud.open_with(Some(OWNER), json!({"defaults": defaults}));
    provider.ensure(&key(spec), spec).await.unwrap();
    let caches = cloud.fake.caches();
    let mut parameters = caches.last().unwrap().parameters.clone();
    parameters.retain(|name, _| !ALWAYS.contains(&name.as_str()) && !name.starts_with("Tag."));
    parameters
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[tokio::test]
async fn a_plain_spec_asks_for_no_more_than_it_says() {
    let cloud = Cloud::start().await;
    let spec = CacheSpec::new(vec![
        "nginx".parse().unwrap(),
        "ghcr.io/a/b@sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7"
            .parse()
            .unwrap(),
    ]);
    let expected = map(&[
        ("ImageCacheName", key(&spec).as_str()),
        ("Image.1", "nginx:latest"),
        (
            "Image.2",
            "ghcr.io/a/b@sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7",
        ),
        ("ImageCacheSize", "20"),
    ]);
    assert_eq!(asked(&cloud, json!({}), &spec).await, expected);
    let tags: BTreeMap<String, String> = cloud.only_cache().tags.into_iter().collect();
    let expected = map(&[
        ("imagecache.dev/managed-by", "imagecache"),
        ("imagecache.dev/owner", OWNER),
        ("imagecache.dev/key", key(&spec).as_str()),
        ("imagecache.dev/attempt", "1"),
    ]);
    assert_eq!(tags, expected);
}

/// A spec with every option that this cloud has.
fn full_spec() -> CacheSpec {
    let mut spec = CacheSpec {
        display_name: text("web"),
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
    spec.options.layer_reuse = Some(true);
    spec.options.flash = Some(true);
    // For another cloud: read by it alone.
    spec.options.resolv_conf = text("nameserver 1.1.1.1");
    spec.options.tencent.security_group_ids = vec!["sg-tencent".to_owned()];
    spec.options.alibaba.vswitch_ids = vec!["vsw-a".to_owned(), "vsw-b".to_owned()];
    spec.options.alibaba.security_group_id = text("sg-1");
    spec.options.alibaba.resource_group_id = text("rg-1");
    spec.options.alibaba.acr_instances = vec![AcrInstance {
        id: "cri-1".to_owned(),
        region: text("cn-beijing"),
        service_arn: text("acs:ram::1:role/a"),
        user_arn: text("acs:ram::2:role/b"),
    }];
    spec
}

/// What that spec becomes.
const FULL: &[(&str, &str)] = &[
    ("Image.1", "registry.example.com/app/web:1.2.3"),
    ("ImageCacheSize", "25"),
    ("RetentionDays", "7"),
    ("ImageRegistryCredential.1.Server", "registry.example.com:5000"),
    ("ImageRegistryCredential.1.UserName", "robot$puller"),
    ("ImageRegistryCredential.1.Password", PASSWORD),
    ("PlainHttpRegistry", "a.example.com,b.example.com:5000"),
    ("InsecureRegistry", "c.example.com"),
    ("AutoMatchImageCache", "true"),
    ("Flash", "true"),
    ("VSwitchId", "vsw-a,vsw-b"),
    ("SecurityGroupId", "sg-1"),
    ("ResourceGroupId", "rg-1"),
    ("AcrRegistryInfo.1.InstanceId", "cri-1"),
    ("AcrRegistryInfo.1.RegionId", "cn-beijing"),
    ("AcrRegistryInfo.1.ArnService", "acs:ram::1:role/a"),
    ("AcrRegistryInfo.1.ArnUser", "acs:ram::2:role/b"),
];

/// Every default that can be configured.
fn full_defaults() -> Value {
    json!({
        "vswitch_ids": ["vsw-default"],
        "zone_id": "cn-hangzhou-g",
        "security_group_id": "sg-default",
        "resource_group_id": "rg-default",
        "layer_reuse": false,
        "flash": false,
        "flash_copies": 2,
        "standard_copies": 3,
        "elimination_strategy": "LRU",
        "acr_instances": [{"id": "cri-default", "name": "n", "region": "cn-shanghai", "domains": ["x.example.com", "y.example.com"],
            "service_arn": "acs:ram::3:role/c", "user_arn": "acs:ram::4:role/d"}],
        "tags": {"team": "a b", "cost": "42"},
    })
}

#[tokio::test]
async fn every_option_of_a_spec_arrives() {
    let cloud = Cloud::start().await;
    let spec = full_spec();
    let mut expected = map(FULL);
    expected.insert("ImageCacheName".to_owned(), key(&spec).to_string());
    assert_eq!(asked(&cloud, json!({}), &spec).await, expected);
    let tags: BTreeMap<String, String> = cloud.only_cache().tags.into_iter().collect();
    assert_eq!(tags.get("imagecache.dev/name").map(String::as_str), Some("web"));
    assert_eq!(tags.get("imagecache.dev/retention-days").map(String::as_str), Some("7"));
}

#[tokio::test]
async fn what_the_spec_says_wins_over_every_default() {
    let cloud = Cloud::start().await;
    let spec = full_spec();
    let mut expected = map(FULL);
    expected.insert("ImageCacheName".to_owned(), key(&spec).to_string());
    // What a spec cannot say comes from the configuration; the zone is that of the configured vSwitches only.
    expected.extend(map(&[
        ("FlashCopyCount", "2"),
        ("StandardCopyCount", "3"),
        ("EliminationStrategy", "LRU"),
    ]));
    assert_eq!(asked(&cloud, full_defaults(), &spec).await, expected);
}

#[tokio::test]
async fn every_default_fills_in_what_the_spec_leaves_out() {
    let cloud = Cloud::start().await;
    let spec = spec();
    let expected = map(&[
        ("ImageCacheName", key(&spec).as_str()),
        ("Image.1", "registry.example.com/app/web:1.2.3"),
        ("ImageCacheSize", "20"),
        ("VSwitchId", "vsw-default"),
        ("ZoneId", "cn-hangzhou-g"),
        ("SecurityGroupId", "sg-default"),
        ("ResourceGroupId", "rg-default"),
        ("AutoMatchImageCache", "false"),
        ("Flash", "false"),
        ("FlashCopyCount", "2"),
        ("StandardCopyCount", "3"),
        ("EliminationStrategy", "LRU"),
        ("AcrRegistryInfo.1.InstanceId", "cri-default"),
        ("AcrRegistryInfo.1.InstanceName", "n"),
        ("AcrRegistryInfo.1.RegionId", "cn-shanghai"),
        ("AcrRegistryInfo.1.Domain.1", "x.example.com"),
        ("AcrRegistryInfo.1.Domain.2", "y.example.com"),
        ("AcrRegistryInfo.1.ArnService", "acs:ram::3:role/c"),
        ("AcrRegistryInfo.1.ArnUser", "acs:ram::4:role/d"),
    ]);
    assert_eq!(asked(&cloud, full_defaults(), &spec).await, expected);
    let tags = cloud.only_cache().tags;
    assert_eq!(
        tags.iter()
            .rev()
            .take(2)
            .map(|(key, _)| key.as_str())
            .collect::<Vec<_>>(),
        ["team", "cost"]
    );
}

#[tokio::test]
async fn a_public_address_is_made_for_the_build_and_released_after_it() {
    let cloud = Cloud::start().await;
    cloud.fake.set_pace(Pace::Manual);
    let provider = cloud.open();
    let mut spec = spec();
    spec.options.public_address = Some(PublicAddress {
        bandwidth_mbps: Some(10),
        charge: Some(AddressCharge::Traffic),
        isp: text("BGP"),
    });
    let key = key(&spec);
    provider.ensure(&key, &spec).await.unwrap();
    let addresses = cloud.fake.addresses();
    let [address] = addresses.as_slice() else {
        panic!("one address expected, not {addresses:?}")
    };
    let cache = cloud.only_cache();
    assert_eq!(cache.eip.as_ref(), Some(&address.id));
    assert_eq!(address.cache.as_ref(), Some(&cache.id));
    provider.list().await.unwrap();
    assert_eq!(cloud.fake.addresses().len(), 1, "in use");
    cloud.fake.finish_builds();
    cloud.fake.advance(std::time::Duration::from_secs(60));
    provider.list().await.unwrap();
    assert_eq!(cloud.fake.addresses().len(), 0);
    assert_eq!(cloud.fake.allocations(), 1);
}

#[tokio::test]
async fn an_address_that_the_spec_names_is_used_instead_of_a_new_one() {
    let cloud = Cloud::start().await;
    let mut spec = spec();
    spec.options.public_address = Some(PublicAddress::default());
    spec.options.alibaba.eip_instance_id = text("eip-of-my-own");
    let asked = asked(&cloud, json!({"eip_instance_id": "eip-default"}), &spec).await;
    assert_eq!(asked.get("EipInstanceId").map(String::as_str), Some("eip-of-my-own"));
    assert_eq!(cloud.fake.allocations(), 0);
    // A configured one is only for specs that want none made.
    let other = CacheSpec {
        size_gib: 30,
        ..crate::support::spec()
    };
    let asked = self::asked(&cloud, json!({"eip_instance_id": "eip-default"}), &other).await;
    assert_eq!(asked.get("EipInstanceId").map(String::as_str), Some("eip-default"));
}
