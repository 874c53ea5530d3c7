//! Layer images, volumes and snapshots in 512 KiB blocks, and the stores that keep them.
//!
//! - A [`Part`] is one EROFS image that a volume holds: a layer, or a small patch above a layer.
//! - A [`SnapshotManifest`] lists every block of a volume with its SHA-256 and says where its bytes are; [`write_snapshot`]
//!   makes one from parts that a store already has, without copying them.
//! - A [`Store`] keeps parts, OCI blobs and snapshots. [`DirectoryStore`] does so in a directory, and reads a mounted
//!   volume the same way.
//! - A [`SnapshotStore`] keeps finished volumes for others to use: the directory by itself, or a block service.
//! - [`export`] writes a volume out flat, [`verify`] re-reads everything, [`mount`] mounts volumes and root filesystems.
//!
//! What is written becomes visible only when it is complete and durable; what is read is checked against its digest.

mod block;
mod cache_record;
mod content;
mod directory;
mod error;
mod export;
pub mod mount;
mod part;
mod placement;
mod record;
mod snapshot;
mod snapshot_store;
mod store;
mod verify;
mod volume;
mod volume_reader;

pub use block::{BLOCK_BYTES, BlockDigest, BlockHasher, Blocks};
pub use cache_record::{CacheRecord, ImageRecord, LayerReference, References, SpecRecord};
pub use content::{ImageStack, StoredImage, image_diff_ids, image_stack, index_digest, stored_images};
pub use directory::{DirectoryStore, Durability, Garbage, LockGuard, PartWriter, RecordChange};
pub use error::{Error, Result};
pub use export::export;
pub use part::{Part, chain_ids};
pub use placement::{PartSize, Placed, Placement, Placer, plan_volume};
pub use record::{LayerRecord, PartRecord, PatchRecord};
pub use snapshot::{Extent, SnapshotId, SnapshotManifest, Source};
pub use snapshot_store::{
    BlockVisitor, Collected, Feed, FinishedVolume, PartFeed, PlacedPart, Published, SnapshotStore, UnfinishedVolume,
    UploadProgress, UploadWatch,
};
pub use store::{PartSink, ReadAt, Store};
pub use verify::{Damage, VerifyReport, verify, verify_published};
pub use volume::{Head, VolumeContent, VolumePart, write_snapshot};
pub use volume_reader::VolumeReader;

pub(crate) use block::BLOCK;
