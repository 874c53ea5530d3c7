//! The node side of imagecache: a containerd snapshotter. Layers that a cache holds are mounted instead of pulled.
//!
//! containerd asks [`serve`]'s socket before it fetches a layer. A layer that a store holds is committed at once, and
//! containerd fetches nothing; any other is unpacked into a directory, as with containerd's own overlay snapshotter. A
//! container's root filesystem is an overlay of both kinds.
//!
//! - [`Snapshotter`] keeps the book: every snapshot, every image that is mounted. It survives kills and reboots.
//! - [`Follower`] looks what the stores hold, and hashes new layers before a pod needs them.
//! - [`serve_mirror`] gives manifests and configs of cached images while their registry is away.
//! - No byte of an image is served that was not hashed and compared with the store's record; a damaged image is pulled.

mod book;
mod cached;
mod catalog;
mod check;
mod disk;
mod error;
mod file_state;
mod filter;
mod image_filesystem;
mod images;
mod labels;
mod layout;
mod metrics;
mod mirror;
mod repair;
mod report;
mod root;
mod service;
mod snapshot;
mod snapshotter;
mod sources;
mod state;
mod status;
mod supply;
#[cfg(test)]
mod tiny_image;
mod verify;
mod volumes;
mod web;
pub mod wire;

pub use check::{Finding, Grade, Host, check};
pub use error::{Error, Result};
pub use image_filesystem::show_image_filesystem;
pub use metrics::{Metrics, MirrorOutcome, PrepareOutcome, listen_metrics, render as render_metrics, serve_metrics};
pub use mirror::{Login, Permission, Upstream, listen_mirror, serve_mirror};
pub use report::NodeReport;
pub use service::{listen, serve};
pub use snapshot::{Labels, REFERENCE_LABEL, Usage};
pub use snapshotter::Snapshotter;
pub use sources::{Follower, Source};
pub use status::{DamagedImage, Status, StoreStatus};
