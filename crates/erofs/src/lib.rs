//! A tar stream becomes a deterministic EROFS image.
//!
//! Three writers share one metadata planner:
//!
//! - [`write_layer`] turns one image layer into a self-contained image in a single pass;
//! - [`write_patch`] holds the few directories and linked files that a layer needs from the layers below it;
//! - [`Tree`], [`Plan`] and [`Superblock`] build a filesystem around data that already lies at known blocks (a volume).
//!
//! [`reader`] reads such images back and trusts nothing in them.
//!
//! Every image is uncompressed, has 4 KiB blocks and `feature_incompat` 0, so Linux 5.4 mounts it. The same input gives
//! the same bytes on any host: no clock, no host names, no hash order. The crate does no I/O of its own.

mod attributes;
mod crc32c;
mod dirent;
mod disk;
mod error;
mod layer;
mod limits;
mod output;
mod patch;
mod plan;
pub mod reader;
mod resolve;
mod superblock;
pub mod tar;
mod tree;
mod xattr;

pub use attributes::{Attributes, Xattr};
pub use disk::{BLOCK_BYTES, FileType};
pub use error::{Error, Result};
pub use layer::{ExternalLink, LayerOptions, LayerSummary, write_layer};
pub use limits::Limits;
pub use patch::{PatchContent, PatchFile, PatchOptions, write_patch};
pub use plan::Plan;
pub use superblock::{Device, Superblock, header_blocks, multi_device_superblock};
pub use tree::{Content, Kind, NodeId, Tree};
