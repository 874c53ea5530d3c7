//! What only ECI has: every annotation of Alibaba's object, and the cluster's profile, as parameters of the call that makes the cache.

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use serde_json::json;

use crate::cloud::Cloud;
use crate::context::Context;
use crate::eci::Eci;
use crate::objects::Dialect;
use crate::scenarios::clouds::spec;

const ALIBABA: Dialect = Dialect::Alibaba;

/// Name and value of a parameter.
type Parameter = (&'static str, &'static str);

/// Annotation, its value, and what the cloud is to be asked for.
const ANNOTATIONS: [(&str, &str, &[Parameter]); 11] = [
    ("vswitch-ids", "vsw-a, vsw-b", &[("VSwitchId", "vsw-a,vsw-b")]),
    ("security-group-id", "sg-a", &[("SecurityGroupId", "sg-a")]),
    ("resource-group-id", "rg-a", &[("ResourceGroupId", "rg-a")]),
    (
        "acr-instance-ids",
        "cri-a,cn-beijing:cri-b",
        &[
            ("AcrRegistryInfo.1.InstanceId", "cri-a"),
            ("AcrRegistryInfo.2.InstanceId", "cri-b"),
            ("AcrRegistryInfo.2.RegionId", "cn-beijing"),
        ],
    ),
    (
        "acr-service-arns",
        "acs:ram::1:role/a",
        &[
            ("AcrRegistryInfo.1.ArnService", "acs:ram::1:role/a"),
            ("AcrRegistryInfo.2.ArnService", "acs:ram::1:role/a"),
        ],
    ),
    (
        "acr-user-arns",
        "acs:ram::2:role/b,acs:ram::3:role/c",
        &[
            ("AcrRegistryInfo.1.ArnUser", "acs:ram::2:role/b"),
            ("AcrRegistryInfo.2.ArnUser", "acs:ram::3:role/c"),
        ],
    ),
    (
        "plain-http-registry",
        "a.example.com,b:5000",
        &[("PlainHttpRegistry", "a.example.com,b:5000")],
    ),
    (
        "insecure-registry",
        "c.example.com",
        &[("InsecureRegistry", "c.example.com")],
    ),
    ("imc-enable-reuse", "true", &[("AutoMatchImageCache", "true")]),
    ("imc-enable-flash", "true", &[("Flash", "true")]),
    ("eip-instance-id", "eip-a", &[("EipInstanceId", "eip-a")]),
];

pub async fn annotations_become_parameters(context: Context) -> Result<()> {
    let cloud = Cloud::<Eci>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let name = context.name("eci-options");
    let mut object = ALIBABA.object(&name, json!({ "images": ["registry.example.com/app:1"] }))?;
    let annotations = ANNOTATIONS
        .iter()
        .map(|(name, value, _)| (format!("k8s.aliyun.com/{name}"), (*value).to_owned()));
    let sized = [("imc-size", "40"), ("imc-retention-days", "3")];
    let sized = sized.map(|(name, value)| (format!("k8s.aliyun.com/{name}"), value.to_owned()));
    object.metadata.annotations = Some(annotations.chain(sized).collect());
    plane.create_object(ALIBABA, object).await?;
    plane.wait_phase(ALIBABA, &name, "Ready").await?;
    let parameters = cloud.only_cache()?.parameters;
    let expected = ANNOTATIONS.iter().flat_map(|(_, _, parameters)| *parameters);
    for (parameter, value) in expected.chain(&[("ImageCacheSize", "40"), ("RetentionDays", "3")]) {
        let found = parameters.get(*parameter).map(String::as_str);
        ensure!(
            found == Some(*value),
            "{parameter} is {found:?} and should be {value:?}"
        );
    }
    plane.finish().await
}

pub async fn the_profile_gives_the_network(context: Context) -> Result<()> {
    let cloud = Cloud::<Eci>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let maps: Api<DynamicObject> = Api::namespaced_with(plane.client()?.clone(), "kube-system", &resource);
    let profile = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "eci-profile" },
        "data": { "vSwitchIds": "vsw-profile", "securityGroupId": "sg-profile", "vpcId": "vpc-a" },
    });
    maps.create(&PostParams::default(), &serde_json::from_value(profile)?)
        .await?;
    let name = context.name("eci-profile");
    let mut object = ALIBABA.object(&name, spec("registry.example.com/app:1"))?;
    let own = ("k8s.aliyun.com/security-group-id".to_owned(), "sg-own".to_owned());
    object.metadata.annotations = Some([own].into());
    plane.create_object(ALIBABA, object).await?;
    let outcome = plane.wait_phase(ALIBABA, &name, "Ready").await;
    let _ = maps.delete("eci-profile", &DeleteParams::default()).await?;
    outcome?;
    let parameters = cloud.only_cache()?.parameters;
    for (parameter, value) in [("VSwitchId", "vsw-profile"), ("SecurityGroupId", "sg-own")] {
        let found = parameters.get(parameter).map(String::as_str);
        ensure!(found == Some(value), "{parameter} is {found:?} and should be {value:?}");
    }
    plane.finish().await
}

pub async fn an_address_is_made_and_released(context: Context) -> Result<()> {
    let cloud = Cloud::<Eci>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let name = context.name("eci-address");
    let mut object = ALIBABA.object(&name, spec("registry.example.com/app:1"))?;
    let annotations = [("auto-create-eip", "true"), ("eip-bandwidth", "10")];
    let annotations = annotations.map(|(name, value)| (format!("k8s.aliyun.com/{name}"), value.to_owned()));
    object.metadata.annotations = Some(annotations.into());
    plane.create_object(ALIBABA, object).await?;
    plane.wait_phase(ALIBABA, &name, "Ready").await?;
    let address = cloud
        .only_cache()?
        .parameters
        .get("EipInstanceId")
        .cloned()
        .unwrap_or_default();
    ensure!(
        address.starts_with("eip-"),
        "the build was given the address {address:?}"
    );
    crate::wait::until("the address to be released", crate::plane::BUILD_LIMIT, async || {
        let left = cloud.fake.addresses();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })
    .await?;
    plane.finish().await
}
