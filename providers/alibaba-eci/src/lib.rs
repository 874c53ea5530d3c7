//! Image caches of Alibaba Cloud Elastic Container Instance (ECI): the provider `alibaba-eci`.
//!
//! [`AlibabaProvider`] keeps the contract of [`imagecache_core::CacheProvider`] by calling ECI's API (version 2018-08-08).

mod code;
mod endpoint;
mod error;
mod params;
mod protocol;
mod refusal;
mod rpc;
mod sign;

pub use endpoint::Network;

/// Name of this provider in config, metric labels and status.
pub const NAME: &str = "alibaba-eci";
