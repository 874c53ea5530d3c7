//! Annotations of Alibaba's `ImageCache` object (document "ImageCache annotations", edition 2024-11).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use imagecache_core::{AcrInstance, AddressCharge, AlibabaResources, BuildOptions, Platform, PublicAddress};

use super::{RETENTION_RANGE, SIZE_RANGE};
use crate::InvalidSpec;
use crate::annotations::{Annotations, field};

const CPU_ARCH: &str = "k8s.aliyun.com/imc-cpu-arch";
const OS_TYPE: &str = "k8s.aliyun.com/imc-os-type";
const PLAIN_HTTP_REGISTRY: &str = "k8s.aliyun.com/plain-http-registry";
const INSECURE_REGISTRY: &str = "k8s.aliyun.com/insecure-registry";
const RETENTION_DAYS: &str = "k8s.aliyun.com/imc-retention-days";
const SIZE: &str = "k8s.aliyun.com/imc-size";
const VSWITCH_IDS: &str = "k8s.aliyun.com/vswitch-ids";
const SECURITY_GROUP_ID: &str = "k8s.aliyun.com/security-group-id";
const RESOURCE_GROUP_ID: &str = "k8s.aliyun.com/resource-group-id";
const ACR_INSTANCE_IDS: &str = "k8s.aliyun.com/acr-instance-ids";
const ACR_SERVICE_ARNS: &str = "k8s.aliyun.com/acr-service-arns";
const ACR_USER_ARNS: &str = "k8s.aliyun.com/acr-user-arns";
/// The older name of [`ACR_INSTANCE_IDS`] on pods.
const ACR_INSTANCE_ID: &str = "k8s.aliyun.com/acr-instance-id";
const ENABLE_REUSE: &str = "k8s.aliyun.com/imc-enable-reuse";
/// The older name of it that the vendor's Knative page still uses.
const ENABLE_REUSE_OLD: &str = "k8s.aliyun.com/eci-image-cache";
const ENABLE_FLASH: &str = "k8s.aliyun.com/imc-enable-flash";
const EIP_INSTANCE_ID: &str = "k8s.aliyun.com/eip-instance-id";
const AUTO_CREATE_EIP: &str = "k8s.aliyun.com/auto-create-eip";
const EIP_BANDWIDTH: &str = "k8s.aliyun.com/eip-bandwidth";
const EIP_INTERNET_CHARGE_TYPE: &str = "k8s.aliyun.com/eip-internet-charge-type";
const EIP_ISP: &str = "k8s.aliyun.com/eip-isp";
const EIP_COMMON_BANDWIDTH_PACKAGE_ID: &str = "k8s.aliyun.com/eip-common-bandwidth-package-id";

/// What the vendor builds for when only the other half of the platform is given.
const DEFAULT_ARCHITECTURE: &str = "amd64";
const DEFAULT_OS: &str = "linux";
/// Most vSwitches of one build (API page of CreateImageCache).
const MAX_VSWITCHES: usize = 10;
/// Bandwidth of a public address in Mbit/s (API page of AllocateEipAddress).
const BANDWIDTH_RANGE: RangeInclusive<u32> = 1..=1000;

/// How registries are reached, which pods and objects say alike ("ECI pod annotations", 2025-04).
pub(super) const FROM_POD: &[(&str, &str)] = &[
    (PLAIN_HTTP_REGISTRY, PLAIN_HTTP_REGISTRY),
    (INSECURE_REGISTRY, INSECURE_REGISTRY),
    (ACR_INSTANCE_IDS, ACR_INSTANCE_IDS),
    (ACR_INSTANCE_ID, ACR_INSTANCE_IDS),
    (ACR_SERVICE_ARNS, ACR_SERVICE_ARNS),
    (ACR_USER_ARNS, ACR_USER_ARNS),
];

/// What the annotations say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) size_gib: Option<u32>,
    pub(super) retention_days: Option<u32>,
    pub(super) platform: Option<Platform>,
    pub(super) plain_http_registries: Vec<String>,
    pub(super) insecure_registries: Vec<String>,
    pub(super) options: BuildOptions,
}

/// Reads the annotations that are known; others belong to somebody else.
pub(super) fn parse(annotations: &BTreeMap<String, String>) -> Result<Found, InvalidSpec> {
    let annotations = Annotations(annotations);
    Ok(Found {
        size_gib: annotations.number(SIZE, &SIZE_RANGE)?,
        retention_days: annotations.number(RETENTION_DAYS, &RETENTION_RANGE)?,
        platform: annotations.platform()?,
        plain_http_registries: annotations.hosts(PLAIN_HTTP_REGISTRY)?,
        insecure_registries: annotations.hosts(INSECURE_REGISTRY)?,
        options: annotations.options()?,
    })
}

impl Annotations<'_> {
    fn platform(&self) -> Result<Option<Platform>, InvalidSpec> {
        let architecture = self.word(
            CPU_ARCH,
            &[(DEFAULT_ARCHITECTURE, DEFAULT_ARCHITECTURE), ("arm64", "arm64")],
        )?;
        let os = self.word(OS_TYPE, &[(DEFAULT_OS, DEFAULT_OS), ("windows", "windows")])?;
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

    fn options(&self) -> Result<BuildOptions, InvalidSpec> {
        let reuse = self.flag(ENABLE_REUSE)?;
        Ok(BuildOptions {
            layer_reuse: reuse.or(self.flag(ENABLE_REUSE_OLD)?),
            flash: self.flag(ENABLE_FLASH)?,
            public_address: self.public_address()?,
            alibaba: AlibabaResources {
                vswitch_ids: self.vswitches()?,
                security_group_id: self.owned(SECURITY_GROUP_ID),
                resource_group_id: self.owned(RESOURCE_GROUP_ID),
                eip_instance_id: self.owned(EIP_INSTANCE_ID),
                bandwidth_package_id: self.owned(EIP_COMMON_BANDWIDTH_PACKAGE_ID),
                acr_instances: self.acr_instances()?,
            },
            ..BuildOptions::default()
        })
    }

    fn vswitches(&self) -> Result<Vec<String>, InvalidSpec> {
        let ids = self.list(VSWITCH_IDS);
        if ids.len() > MAX_VSWITCHES {
            let message = format!("it names {} vSwitches, at most {MAX_VSWITCHES} are allowed", ids.len());
            return Err(InvalidSpec::new(field(VSWITCH_IDS), message));
        }
        Ok(ids)
    }

    fn public_address(&self) -> Result<Option<PublicAddress>, InvalidSpec> {
        // Read before the switch: a wrong value is told also where it would not be used.
        let address = PublicAddress {
            bandwidth_mbps: self.number(EIP_BANDWIDTH, &BANDWIDTH_RANGE)?,
            charge: self.word(
                EIP_INTERNET_CHARGE_TYPE,
                &[
                    ("PayByBandwidth", AddressCharge::Bandwidth),
                    ("PayByTraffic", AddressCharge::Traffic),
                ],
            )?,
            isp: self.owned(EIP_ISP),
        };
        if !self.flag(AUTO_CREATE_EIP)?.unwrap_or(false) {
            return Ok(None);
        }
        if self.text(EIP_INSTANCE_ID).is_some() {
            let message = format!("an address is to be made and {EIP_INSTANCE_ID} names one, remove either");
            return Err(InvalidSpec::new(field(AUTO_CREATE_EIP), message));
        }
        Ok(Some(address))
    }

    /// Registry instances; roles are given once for all of them or one each.
    fn acr_instances(&self) -> Result<Vec<AcrInstance>, InvalidSpec> {
        let ids = self.list(ACR_INSTANCE_IDS);
        let service_arns = self.arns(ACR_SERVICE_ARNS, ids.len())?;
        let user_arns = self.arns(ACR_USER_ARNS, ids.len())?;
        let instance = |(index, text): (usize, &String)| {
            let (region, id) = match text.split_once(':') {
                Some((region, id)) => (Some(region.to_owned()), id.to_owned()),
                None => (None, text.clone()),
            };
            AcrInstance {
                id,
                region,
                service_arn: arn_of(&service_arns, index),
                user_arn: arn_of(&user_arns, index),
            }
        };
        Ok(ids.iter().enumerate().map(instance).collect())
    }

    fn arns(&self, name: &str, instances: usize) -> Result<Vec<String>, InvalidSpec> {
        let arns = self.list(name);
        if arns.len() > 1 && arns.len() != instances || instances == 0 && !arns.is_empty() {
            let message = format!(
                "it names {} roles for {instances} instances of {ACR_INSTANCE_IDS}, give one for all or one each",
                arns.len()
            );
            return Err(InvalidSpec::new(field(name), message));
        }
        Ok(arns)
    }
}

fn arn_of(arns: &[String], index: usize) -> Option<String> {
    arns.get(index).or(arns.first()).cloned()
}
