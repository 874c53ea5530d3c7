//! The provider that does the whole job itself: images from a registry become a verified block snapshot in a store.
//!
//! [`LocalProvider`] keeps the contract of [`imagecache_core::CacheProvider`]; [`LocalConfig`] says where the store is
//! and how images are fetched. One build runs at a time for each cache, in whatever process asked first; layers run side
//! by side, and a layer that the store has is never fetched again.

mod build;
mod config;
mod failure;
mod provider;
mod shelf;
mod tracker;
mod upkeep;

pub use config::{ByteSize, LimitsConfig, LocalConfig, StoreConfig, StoreKind};
pub use provider::LocalProvider;

/// Name of this provider in config, metric labels and status.
pub const NAME: &str = "local";
