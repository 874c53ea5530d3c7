//! Alibaba Cloud's dialect: `eci.alibabacloud.com/v1`.

mod annotations;
pub(crate) mod pod;
mod profile;

pub use profile::Profile;

use std::ops::RangeInclusive;

use imagecache_core::{MAX_RETENTION_DAYS, MAX_SIZE_GIB, MIN_RETENTION_DAYS, MIN_SIZE_GIB, Retention};
use kube_core::ResourceExt;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommonStatus, ImageCacheDialect, InvalidSpec, ParsedRequest, Report, ReportPhase, parse, schema};

/// Documented sizes in GiB.
const SIZE_RANGE: RangeInclusive<u32> = MIN_SIZE_GIB..=MAX_SIZE_GIB;
/// Documented days of retention.
const RETENTION_RANGE: RangeInclusive<u32> = MIN_RETENTION_DAYS..=MAX_RETENTION_DAYS;

/// What an `ImageCache` asks for.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "eci.alibabacloud.com",
    version = "v1",
    kind = "ImageCache",
    plural = "imagecaches",
    singular = "imagecache",
    shortname = "ic",
    category = "all",
    status = "ImageCacheStatus",
    derive = "PartialEq",
    doc = "Some container images, kept ready so that pods start without pulling them.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "CacheId", type_ = "string", json_path = ".status.imageCacheId"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct ImageCacheSpec {
    /// Images to keep, for example `nginx:1.27`. Changing them builds a new cache; the old one serves until that is Ready.
    #[schemars(length(min = 1, max = 20))]
    pub images: Vec<String>,
    /// Secrets with registry credentials, each written `namespace:name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<String>>,
    /// Size of the cache in GiB, 20 when not given. Twice the size of the images is a good choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 20, max = 32768))]
    pub image_cache_size: Option<i64>,
    /// Days after which the cache is removed; for ever when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 65536))]
    pub retention_days: Option<i64>,
}

/// How an `ImageCache` stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageCacheStatus {
    /// Pending, Creating, Ready, Failed, Updating, UpdateFailed or Expired.
    #[serde(deserialize_with = "schema::lenient", skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Id of the image cache, which pods name in their annotations.
    #[serde(deserialize_with = "schema::lenient", skip_serializing_if = "String::is_empty")]
    pub image_cache_id: String,
    /// What both vendors' statuses have here.
    #[serde(flatten)]
    pub common: CommonStatus,
}

impl ImageCacheDialect for ImageCache {
    type Status = ImageCacheStatus;

    const DIALECT: &'static str = "alibaba";
    const SECRET_SEPARATOR: char = ':';
    const FROM_POD: &'static [(&'static str, &'static str)] = annotations::FROM_POD;

    fn request(&self) -> Result<ParsedRequest, InvalidSpec> {
        let mut spec = parse::images(self.metadata.name.as_ref(), &self.spec.images)?;
        let found = annotations::parse(self.annotations())?;
        // The vendor does not document which wins. The spec does: a default set by annotations can be overridden in it.
        let size = self.spec.image_cache_size;
        if let Some(size) = size.map(|size| parse::in_range("spec.imageCacheSize", size, &SIZE_RANGE)) {
            spec.size_gib = size?;
        } else if let Some(size) = found.size_gib {
            spec.size_gib = size;
        }
        let days = self.spec.retention_days;
        let days = days.map(|days| parse::in_range("spec.retentionDays", days, &RETENTION_RANGE));
        spec.retention = Retention::from_days(days.transpose()?.or(found.retention_days));
        spec.platform = found.platform;
        spec.plain_http_registries = found.plain_http_registries;
        spec.insecure_registries = found.insecure_registries;
        spec.options = found.options;
        Ok(ParsedRequest {
            spec,
            pull_secrets: parse::secrets(self.spec.image_pull_secrets.as_deref(), Self::SECRET_SEPARATOR)?,
        })
    }

    fn status(&self) -> Option<&ImageCacheStatus> {
        self.status.as_ref()
    }

    fn phase(status: &ImageCacheStatus) -> &str {
        &status.phase
    }

    fn id(status: &ImageCacheStatus) -> &str {
        &status.image_cache_id
    }

    fn common(status: &ImageCacheStatus) -> &CommonStatus {
        &status.common
    }

    fn render(report: &Report) -> ImageCacheStatus {
        ImageCacheStatus {
            phase: phase(&report.phase).to_owned(),
            image_cache_id: report.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            common: CommonStatus::render(report),
        }
    }
}

/// The words of the cloud's API; it has none for an expired cache, which it just forgets.
fn phase(phase: &ReportPhase) -> &str {
    match phase {
        ReportPhase::Pending => "Pending",
        ReportPhase::Creating => "Creating",
        ReportPhase::Ready => "Ready",
        ReportPhase::Failed => "Failed",
        ReportPhase::Updating => "Updating",
        ReportPhase::UpdateFailed => "UpdateFailed",
        ReportPhase::Expired => "Expired",
        ReportPhase::Unknown(raw) => raw,
    }
}
