//! Tencent Kubernetes Engine, as the scenarios for clouds need to know it.

use std::time::Duration;

use crate::cloud::{RATE, Vendor};
use crate::objects::Dialect;

/// Tencent Cloud.
pub struct Tke;

impl Vendor for Tke {
    type Fake = imagecache_fakes::tke::Tke;

    const PROVIDER: &'static str = "tencent-eks";
    const WORD: &'static str = "tke";
    const DIALECT: Dialect = Dialect::Tencent;
    const REGION: &'static str = "ap-guangzhou";
    /// A process that has just started creates nothing before this is over.
    const CHANGES: &'static [(&'static str, &'static str)] = &[("listing_lag = \"30s\"", "listing_lag = \"1s\"")];
    /// What is shipped is the very rate; on a busy machine calls that are sent in time arrive in a heap now and then.
    const FAST: &'static [(&'static str, &'static str)] = &[
        ("ImageCache = \"20/s\"", "ImageCache = \"18/s\""),
        ("ImageCaches = \"20/s\"", "ImageCaches = \"18/s\""),
    ];
    const ENDPOINTS: &'static [&'static str] = &["IMAGECACHE_TENCENT_EKS__ENDPOINT"];
    const KEY: [&'static str; 2] = ["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"];
    const OWNER: &'static str = "IMAGECACHE_TENCENT_EKS__OWNER";
    const DELETE: &'static str = "DeleteImageCaches";
    /// The first event comes with the creation, so the object says at once that something is being done.
    const BUILDING: &'static [(&'static str, [&'static str; 2])] = &[("Pending", ["Creating", "Pending"])];
    const LAST_EVENT: &'static str = "eksci-";
    const QUOTA: &'static str = "LimitExceeded";
    const WRONG_SECRET: &'static str = "AuthFailure.SignatureFailure";
    /// Permissions hide in this family.
    const DENIED: (u16, &'static str) = (200, "InternalError.CamNoAuth");
    const BUSY: (u16, &'static str) = (200, "ResourceInUse");
    /// For the second that is configured above.
    const LOOKS_AT_START: usize = RATE as usize;
    /// Shorter than the lag that is configured: a cloud that lags longer is more than anybody can cope with.
    const LAG: Duration = Duration::from_millis(600);
}
