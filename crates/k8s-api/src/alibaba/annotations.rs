//! Annotations of Alibaba's `ImageCache` object (document "ImageCache annotations", edition 2024-11).

use std::collections::BTreeMap;

use imagecache_core::Platform;

use super::{RETENTION_RANGE, SIZE_RANGE};
use crate::{CloudOption, InvalidSpec, parse};

const CPU_ARCH: &str = "k8s.aliyun.com/imc-cpu-arch";
const OS_TYPE: &str = "k8s.aliyun.com/imc-os-type";
const PLAIN_HTTP_REGISTRY: &str = "k8s.aliyun.com/plain-http-registry";
const INSECURE_REGISTRY: &str = "k8s.aliyun.com/insecure-registry";
const RETENTION_DAYS: &str = "k8s.aliyun.com/imc-retention-days";
const SIZE: &str = "k8s.aliyun.com/imc-size";

/// What the vendor builds for when only the other half of the platform is given.
const DEFAULT_ARCHITECTURE: &str = "amd64";
const DEFAULT_OS: &str = "linux";

/// Options that only a cloud can honour. The last row is the older name that the vendor's Knative page still uses.
const CLOUD_OPTIONS: [(&str, CloudOption); 15] = [
    ("k8s.aliyun.com/vswitch-ids", CloudOption::VSwitchIds),
    ("k8s.aliyun.com/security-group-id", CloudOption::SecurityGroupId),
    ("k8s.aliyun.com/resource-group-id", CloudOption::ResourceGroupId),
    ("k8s.aliyun.com/acr-instance-ids", CloudOption::AcrInstanceIds),
    ("k8s.aliyun.com/acr-service-arns", CloudOption::AcrServiceArns),
    ("k8s.aliyun.com/acr-user-arns", CloudOption::AcrUserArns),
    ("k8s.aliyun.com/imc-enable-reuse", CloudOption::LayerReuse),
    ("k8s.aliyun.com/imc-enable-flash", CloudOption::Flash),
    ("k8s.aliyun.com/eip-instance-id", CloudOption::EipInstanceId),
    ("k8s.aliyun.com/auto-create-eip", CloudOption::AutoCreateEip),
    ("k8s.aliyun.com/eip-bandwidth", CloudOption::EipBandwidth),
    (
        "k8s.aliyun.com/eip-internet-charge-type",
        CloudOption::EipInternetChargeType,
    ),
    ("k8s.aliyun.com/eip-isp", CloudOption::EipIsp),
    (
        "k8s.aliyun.com/eip-common-bandwidth-package-id",
        CloudOption::EipCommonBandwidthPackageId,
    ),
    ("k8s.aliyun.com/eci-image-cache", CloudOption::LayerReuse),
];

/// What the annotations say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) size_gib: Option<u32>,
    pub(super) retention_days: Option<u32>,
    pub(super) platform: Option<Platform>,
    pub(super) plain_http_registries: Vec<String>,
    pub(super) insecure_registries: Vec<String>,
    pub(super) cloud_options: BTreeMap<CloudOption, String>,
}

/// Reads the annotations that are known; others belong to somebody else.
pub(super) fn parse(annotations: &BTreeMap<String, String>) -> Result<Found, InvalidSpec> {
    let hosts = |name: &str| {
        annotations
            .get(name)
            .map_or(Ok(Vec::new()), |text| parse::hosts(&field(name), text))
    };
    let number = |name: &str, range| {
        annotations
            .get(name)
            .map(|text| parse::number(&field(name), text, range))
            .transpose()
    };
    let mut cloud_options = BTreeMap::new();
    for (name, option) in CLOUD_OPTIONS {
        if let Some(value) = annotations.get(name) {
            cloud_options.entry(option).or_insert_with(|| value.clone());
        }
    }
    Ok(Found {
        size_gib: number(SIZE, &SIZE_RANGE)?,
        retention_days: number(RETENTION_DAYS, &RETENTION_RANGE)?,
        platform: platform(annotations)?,
        plain_http_registries: hosts(PLAIN_HTTP_REGISTRY)?,
        insecure_registries: hosts(INSECURE_REGISTRY)?,
        cloud_options,
    })
}

fn platform(annotations: &BTreeMap<String, String>) -> Result<Option<Platform>, InvalidSpec> {
    let one_of = |name: &str, allowed: [&'static str; 2]| {
        let Some(text) = annotations.get(name) else {
            return Ok(None);
        };
        let found = allowed.into_iter().find(|word| word.eq_ignore_ascii_case(text.trim()));
        found.map(Some).ok_or_else(|| {
            let [first, second] = allowed;
            InvalidSpec::new(field(name), format!("`{text}` is not known, write {first} or {second}"))
        })
    };
    let architecture = one_of(CPU_ARCH, [DEFAULT_ARCHITECTURE, "arm64"])?;
    let os = one_of(OS_TYPE, [DEFAULT_OS, "windows"])?;
    if architecture.is_none() && os.is_none_or(|os| os == DEFAULT_OS) {
        return Ok(None);
    }
    let platform = Platform {
        os: os.unwrap_or(DEFAULT_OS).to_owned(),
        architecture: architecture.unwrap_or(DEFAULT_ARCHITECTURE).to_owned(),
        variant: None,
    };
    Ok(Some(platform.normalized()))
}

fn field(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}
