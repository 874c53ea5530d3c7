//! Tencent Cloud's dialect: `eks.cloud.tencent.com/v1`.

mod eks_config;
pub(crate) mod pod;

pub use eks_config::EksConfig;

use std::ops::RangeInclusive;

use imagecache_core::{MAX_SIZE_GIB, MIN_SIZE_GIB, Retention, TencentResources};
use kube_core::ResourceExt;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::annotations::Annotations;
use crate::{CommonStatus, ImageCacheDialect, InvalidSpec, ParsedRequest, Report, ReportPhase, parse, schema};

/// Sizes in GiB: the vendor has no maximum, so ours holds.
const SIZE_RANGE: RangeInclusive<u32> = MIN_SIZE_GIB..=MAX_SIZE_GIB;
/// Documented days of retention; 0 is for ever.
const RETENTION_RANGE: RangeInclusive<u32> = 0..=3650;
/// The vendor's default, in GiB.
const DEFAULT_SIZE: i64 = 20;

/// Registries to reach over plain HTTP. Documented for pods; honoured on the object, as the builder meets the same registry.
const REGISTRY_HTTP_ENDPOINT: &str = "eks.tke.cloud.tencent.com/registry-http-endpoint";
/// Registries whose certificate is not checked; as above.
const REGISTRY_SKIP_VERIFY: &str = "eks.tke.cloud.tencent.com/registry-insecure-skip-verify";
/// JSON description of a public address for the build.
const EIP_ATTRIBUTES: &str = "eks.tke.cloud.tencent.com/eip-attributes";
/// VPC to build in, where it is not the configured one. The vendor documents no way to say this on the object, so the name is
/// ours.
const VPC_ID: &str = "imagecache.dev/tencent-vpc-id";
/// Subnet to build in; as above.
const SUBNET_ID: &str = "imagecache.dev/tencent-subnet-id";
/// Text of the `resolv.conf` to build with.
const RESOLV_CONF: &str = "eks.tke.cloud.tencent.com/resolv-conf";

/// What an `ImageCache` asks for.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "eks.cloud.tencent.com",
    version = "v1",
    kind = "ImageCache",
    plural = "imagecaches",
    singular = "imagecache",
    shortname = "imc",
    status = "ImageCacheStatus",
    derive = "PartialEq",
    doc = "Some container images, kept ready so that pods start without pulling them.",
    printcolumn(name = "CacheSize", type_ = "integer", json_path = ".spec.imageCacheSize"),
    printcolumn(name = "ImcId", type_ = "string", json_path = ".status.imcId"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.imcPhase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct ImageCacheSpec {
    /// Images to keep, for example `nginx:1.27`. Changing them builds a new cache; the old one serves until that is Ready.
    #[schemars(length(min = 1))]
    pub images: Vec<String>,
    /// Size of the cache in GiB, at least 20.
    #[serde(default = "default_size")]
    #[schemars(with = "i32", range(min = 20))]
    pub image_cache_size: i64,
    /// Days after which the cache is removed; 0 keeps it for ever.
    #[serde(default)]
    #[schemars(with = "i32", range(min = 0, max = 3650))]
    pub retention_days: i64,
    /// Secrets with registry credentials, each written `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<String>>,
    /// Security groups of the instance that builds the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_group_ids: Option<Vec<String>>,
}

fn default_size() -> i64 {
    DEFAULT_SIZE
}

/// How an `ImageCache` stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageCacheStatus {
    /// Id of the image cache, which pods name in their annotations.
    #[serde(deserialize_with = "schema::lenient", skip_serializing_if = "String::is_empty")]
    pub imc_id: String,
    /// Pending, Ready, Failed, Updating, UpdateFailed or Expired.
    #[serde(deserialize_with = "schema::lenient", skip_serializing_if = "String::is_empty")]
    pub imc_phase: String,
    /// What both vendors' statuses have here.
    #[serde(flatten)]
    pub common: CommonStatus,
}

impl ImageCacheDialect for ImageCache {
    type Status = ImageCacheStatus;

    const DIALECT: &'static str = "tencent";
    const SECRET_SEPARATOR: char = '/';
    const FROM_POD: &'static [(&'static str, &'static str)] = &[
        (REGISTRY_HTTP_ENDPOINT, REGISTRY_HTTP_ENDPOINT),
        (REGISTRY_SKIP_VERIFY, REGISTRY_SKIP_VERIFY),
    ];

    fn request(&self) -> Result<ParsedRequest, InvalidSpec> {
        let annotations = Annotations(self.annotations());
        let mut spec = parse::images(self.metadata.name.as_ref(), &self.spec.images)?;
        spec.size_gib = parse::in_range("spec.imageCacheSize", self.spec.image_cache_size, &SIZE_RANGE)?;
        let days = parse::in_range("spec.retentionDays", self.spec.retention_days, &RETENTION_RANGE)?;
        spec.retention = Retention::from_days(Some(days));
        spec.plain_http_registries = annotations.hosts(REGISTRY_HTTP_ENDPOINT)?;
        spec.insecure_registries = annotations.hosts(REGISTRY_SKIP_VERIFY)?;
        spec.options.resolv_conf = annotations.verbatim(RESOLV_CONF);
        spec.options.tencent = TencentResources {
            vpc_id: annotations.owned(VPC_ID),
            subnet_id: annotations.owned(SUBNET_ID),
            security_group_ids: self.spec.security_group_ids.clone().unwrap_or_default(),
            eip_attributes: annotations.verbatim(EIP_ATTRIBUTES),
        };
        Ok(ParsedRequest {
            spec,
            pull_secrets: parse::secrets(self.spec.image_pull_secrets.as_deref(), Self::SECRET_SEPARATOR)?,
        })
    }

    fn status(&self) -> Option<&ImageCacheStatus> {
        self.status.as_ref()
    }

    fn phase(status: &ImageCacheStatus) -> &str {
        &status.imc_phase
    }

    fn id(status: &ImageCacheStatus) -> &str {
        &status.imc_id
    }

    fn common(status: &ImageCacheStatus) -> &CommonStatus {
        &status.common
    }

    fn render(report: &Report) -> ImageCacheStatus {
        ImageCacheStatus {
            imc_id: report.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            imc_phase: phase(&report.phase).to_owned(),
            common: CommonStatus::render(report),
        }
    }
}

/// The words of the cloud's API. It calls a cache Pending until it is Ready, and has no word for an expired one.
fn phase(phase: &ReportPhase) -> &str {
    match phase {
        ReportPhase::Pending | ReportPhase::Creating => "Pending",
        ReportPhase::Ready => "Ready",
        ReportPhase::Failed => "Failed",
        ReportPhase::Updating => "Updating",
        ReportPhase::UpdateFailed => "UpdateFailed",
        ReportPhase::Expired => "Expired",
        ReportPhase::Unknown(raw) => raw,
    }
}
