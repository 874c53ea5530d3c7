//! What only Tencent's cloud has: annotations as parameters of the call that makes the cache, its defaults, and its codes.

use anyhow::{Result, ensure};
use imagecache_fakes::Fault;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::context::Context;
use crate::objects::Dialect;
use crate::scenarios::clouds::spec;
use crate::tke::Tke;

const TENCENT: Dialect = Dialect::Tencent;

/// Annotation and its value.
const ANNOTATIONS: [(&str, &str); 6] = [
    ("imagecache.dev/tencent-vpc-id", "vpc-own"),
    ("imagecache.dev/tencent-subnet-id", "subnet-own"),
    (
        "eks.tke.cloud.tencent.com/eip-attributes",
        r#"{"InternetServiceProvider":"CMCC","InternetMaxBandwidthOut":2,"DeletePolicy":"Never"}"#,
    ),
    (
        "eks.tke.cloud.tencent.com/resolv-conf",
        "nameserver 10.0.0.2\nsearch example.com",
    ),
    (
        "eks.tke.cloud.tencent.com/registry-http-endpoint",
        "a.example.com,b.example.com:5000",
    ),
    (
        "eks.tke.cloud.tencent.com/registry-insecure-skip-verify",
        "c.example.com",
    ),
];

pub async fn the_object_says_where_and_how(context: Context) -> Result<()> {
    let cloud = Cloud::<Tke>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let secret_name = context.name("tke-pull");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
    let secrets: Api<DynamicObject> = Api::namespaced_with(plane.client()?.clone(), "default", &resource);
    let auths = json!({ "auths": { "registry.example.com": { "username": "robot", "password": "word" } } });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": secret_name },
        "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": auths.to_string() },
    });
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    let name = context.name("tke-options");
    let wanted = json!({
        "images": ["registry.example.com/app:1"], "imageCacheSize": 40, "retentionDays": 3,
        "securityGroupIds": ["sg-own1", "sg-own2"],
        "imagePullSecrets": [TENCENT.pull_secret("default", &secret_name)],
    });
    let mut object = TENCENT.object(&name, wanted)?;
    let annotations = ANNOTATIONS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    object.metadata.annotations = Some(annotations.into());
    plane.create_object(TENCENT, object).await?;
    let outcome = plane.wait_phase(TENCENT, &name, "Ready").await;
    let _ = secrets.delete(&secret_name, &DeleteParams::default()).await?;
    outcome?;
    let login = json!({ "Server": "registry.example.com", "Username": "robot", "Password": "word" });
    let address = json!({ "InternetServiceProvider": "CMCC", "InternetMaxBandwidthOut": 2, "DeletePolicy": "Never" });
    asked_for(
        &cloud,
        &[
            ("VpcId", json!("vpc-own")),
            ("SubnetId", json!("subnet-own")),
            ("SecurityGroupIds", json!(["sg-own1", "sg-own2"])),
            ("ImageCacheSize", json!(40)),
            ("RetentionDays", json!(3)),
            ("AutoCreateEip", json!(true)),
            ("AutoCreateEipAttribute", address),
            ("ResolveConfig", json!("nameserver 10.0.0.2\nsearch example.com")),
            (
                "RegistryHttpEndPointList",
                json!(["a.example.com", "b.example.com:5000"]),
            ),
            ("RegistrySkipVerifyList", json!(["c.example.com"])),
            ("ImageRegistryCredentials", json!([login])),
        ],
    )?;
    plane.finish().await
}

pub async fn defaults_are_for_what_the_object_leaves_out(context: Context) -> Result<()> {
    let cloud = Cloud::<Tke>::start().await;
    let changes = [
        ("vpc_id = \"vpc-example\"", "vpc_id = \"vpc-default\""),
        ("subnet_id = \"subnet-example\"", "subnet_id = \"subnet-default\""),
        ("security_group_ids = []", "security_group_ids = [\"sg-default\"]"),
        ("eip_id = \"\"", "eip_id = \"eip-default\""),
        ("resolv_conf = \"\"", "resolv_conf = \"nameserver 10.0.0.1\""),
        (
            "plain_http_registries = []",
            "plain_http_registries = [\"plain.example.com\"]",
        ),
        (
            "insecure_registries = []",
            "insecure_registries = [\"self-signed.example.com\"]",
        ),
    ];
    let mut plane = cloud.plane_with(&context, &changes).await?;
    // Tencent's names are Tencent's: in Alibaba's form of the object there is no place for them, so all defaults hold.
    for (dialect, word) in Dialect::ALL {
        let name = context.name(&format!("tke-defaults-{word}"));
        plane.create(dialect, &name, spec("registry.example.com/app:1")).await?;
        plane.wait_phase(dialect, &name, "Ready").await?;
        asked_for(
            &cloud,
            &[
                ("VpcId", json!("vpc-default")),
                ("SubnetId", json!("subnet-default")),
                ("SecurityGroupIds", json!(["sg-default"])),
                ("ExistedEipId", json!("eip-default")),
                ("ResolveConfig", json!("nameserver 10.0.0.1")),
                ("RegistryHttpEndPointList", json!(["plain.example.com"])),
                ("RegistrySkipVerifyList", json!(["self-signed.example.com"])),
            ],
        )?;
        plane.delete(dialect, &name).await?;
        cloud.wait_caches(0).await?;
    }
    plane.finish().await
}

/// There are four ways to say that it was too often, all inside a success of HTTP: each only delays.
pub async fn every_throttling_code_is_waited_for(context: Context) -> Result<()> {
    let cloud = Cloud::<Tke>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let codes = [
        "",
        ".UinLimitExceeded",
        ".IPLimitExceeded",
        ".GlobalRegionUinLimitExceeded",
    ];
    for (count, code) in codes.into_iter().enumerate() {
        let refusal = Fault::Refuse {
            status: 200,
            code: format!("RequestLimitExceeded{code}"),
            message: "too many calls".to_owned(),
        };
        for action in ["CreateImageCache", "DescribeImageCaches", "DeleteImageCaches"] {
            cloud.fake.inject(action, refusal.clone(), 2);
        }
        let name = context.name(&format!("tke-throttled-{count}"));
        plane.create(TENCENT, &name, spec("registry.example.com/app:1")).await?;
        plane.wait_phase(TENCENT, &name, "Ready").await?;
        plane.delete(TENCENT, &name).await?;
        cloud.wait_caches(0).await?;
        cloud.made(count + 1)?;
    }
    plane.finish().await
}

/// Fails unless the only cache was asked for with these parameters, texts or JSON.
fn asked_for(cloud: &Cloud<Tke>, expected: &[(&str, Value)]) -> Result<()> {
    let parameters = cloud.only_cache()?.parameters;
    for (name, value) in expected {
        let found = parameters.get(*name).map(String::as_str).unwrap_or_default();
        let same =
            value.as_str() == Some(found) || serde_json::from_str::<Value>(found).is_ok_and(|found| found == *value);
        ensure!(same, "{name} is {found:?} and should be {value}");
    }
    Ok(())
}
