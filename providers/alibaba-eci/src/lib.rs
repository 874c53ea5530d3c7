//! Image caches of Alibaba Cloud Elastic Container Instance (ECI): the provider `alibaba-eci`.
//!
//! [`AlibabaProvider`] keeps the contract of [`imagecache_core::CacheProvider`] by calling ECI's API (version 2018-08-08).

mod caches;
mod client;
mod code;
mod config;
mod creation;
mod credential;
mod eip;
mod endpoint;
mod ensure;
mod error;
mod mark;
mod memory;
mod params;
mod protocol;
mod provider;
mod refusal;
mod rpc;
mod sign;
mod state;
mod wire;

pub use config::{AcrConfig, AlibabaConfig, DefaultsConfig};
pub use credential::{
    CredentialChoice, CredentialConfig, CredentialConfigError, Environment, SecretFile, VariableName,
};
pub use endpoint::Network;
pub use provider::AlibabaProvider;

/// Name of this provider in config, metric labels and status.
pub const NAME: &str = "alibaba-eci";
