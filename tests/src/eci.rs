//! Alibaba Cloud ECI, as the scenarios for clouds need to know it.

use std::time::Duration;

use crate::cloud::Vendor;
use crate::objects::Dialect;

/// Alibaba Cloud.
pub struct Eci;

impl Vendor for Eci {
    type Fake = imagecache_fakes::eci::Eci;

    const PROVIDER: &'static str = "alibaba-eci";
    const WORD: &'static str = "eci";
    const DIALECT: Dialect = Dialect::Alibaba;
    const REGION: &'static str = "cn-hangzhou";
    const CHANGES: &'static [(&'static str, &'static str)] = &[];
    const FAST: &'static [(&'static str, &'static str)] = &[
        ("CreateImageCache = \"200/min\"", "CreateImageCache = \"20/s\""),
        ("DescribeImageCaches = \"10/s\"", "DescribeImageCaches = \"20/s\""),
        ("overall = \"15/s\"", "overall = \"19/s\""),
        ("page_size = 50", "page_size = 100"),
    ];
    const ENDPOINTS: &'static [&'static str] = &[
        "IMAGECACHE_ALIBABA_ECI__ENDPOINT",
        "IMAGECACHE_ALIBABA_ECI__VPC_ENDPOINT",
    ];
    const KEY: [&'static str; 2] = ["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"];
    const OWNER: &'static str = "IMAGECACHE_ALIBABA_ECI__OWNER";
    const DELETE: &'static str = "DeleteImageCache";
    const BUILDING: &'static [(&'static str, [&'static str; 2])] = &[
        ("Preparing", ["Pending", "Pending"]),
        ("Creating", ["Creating", "Pending"]),
    ];
    const LAST_EVENT: &'static str = "start to pull images";
    const QUOTA: &'static str = "0 of 0";
    const WRONG_SECRET: &'static str = "SignatureDoesNotMatch";
    const DENIED: (u16, &'static str) = (403, "Forbidden.RAM");
    const BUSY: (u16, &'static str) = (400, "OperationConflict");
    const LOOKS_AT_START: usize = 0;
    const LAG: Duration = Duration::from_secs(2);
}
