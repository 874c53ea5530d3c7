//! Image caches of Tencent Kubernetes Engine (TKE Serverless, super nodes): the provider `tencent-eks`.
//!
//! [`TencentProvider`] keeps the contract of [`imagecache_core::CacheProvider`] by calling TKE's API (version 2018-05-25).

mod caches;
mod client;
mod code;
mod config;
mod creation;
mod credential;
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

pub use caches::SuitableCache;
pub use config::{DefaultsConfig, TencentConfig};
pub use credential::{
    CredentialChoice, CredentialConfig, CredentialConfigError, Environment, SecretFile, VariableName,
};
pub use endpoint::Network;
pub use provider::TencentProvider;

/// Name of this provider in config, metric labels and status.
pub const NAME: &str = "tencent-eks";
