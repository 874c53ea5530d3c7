//! Where the finished volumes of caches are kept for those who use them: the directory itself, or a block service.

use std::fmt;
use std::time::Duration;

use imagecache_core::{CacheId, CacheKey, Digest};
use serde::{Deserialize, Serialize};

use crate::block::BlockDigest;
use crate::directory::DirectoryStore;
use crate::error::Result;
use crate::part::Part;
use crate::snapshot::SnapshotManifest;

/// A finished volume as it is kept outside the directory. Part of a cache's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The snapshot's name there.
    pub id: String,
    /// Size of the device that is made of it; never less than the manifest's volume.
    pub volume_bytes: u64,
    /// The snapshot that it was made on top of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many snapshots lie below it.
    #[serde(default)]
    pub generation: u32,
}

/// A volume that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct FinishedVolume<'a> {
    /// The store that has its bytes.
    pub store: &'a DirectoryStore,
    /// The volume.
    pub manifest: &'a SnapshotManifest,
    /// The cache that it is made for.
    pub cache: &'a CacheId,
    /// The cache's key.
    pub key: &'a CacheKey,
    /// An older volume of the same lineage, and how it is kept: what did not change is not sent again.
    pub previous: Option<(&'a SnapshotManifest, &'a Published)>,
}

/// A volume of which only some parts are there.
#[derive(Clone, Copy, Debug)]
pub struct UnfinishedVolume<'a> {
    /// The store that gets its bytes.
    pub store: &'a DirectoryStore,
    /// Digest of the `index.json` that it will hold: which images it is made for.
    pub index: &'a Digest,
    /// The cache that it is made for.
    pub cache: &'a CacheId,
    /// The cache's key.
    pub key: &'a CacheKey,
    /// As in [`FinishedVolume`].
    pub previous: Option<(&'a SnapshotManifest, &'a Published)>,
}

/// A part of an unfinished volume that is in the store and has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPart {
    /// The part.
    pub part: Part,
    /// First block in the volume.
    pub first_block: u64,
    /// Digests of its blocks.
    pub digests: Vec<BlockDigest>,
}

/// What a [`PartFeed`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// One more part.
    Part(PlacedPart),
    /// Nothing now; ask again soon.
    Later,
    /// Nothing more.
    End,
}

/// Gives the parts of an unfinished volume as they get ready.
pub trait PartFeed: Send + Sync {
    /// The next part. Does not wait.
    fn next(&self) -> Feed;

    /// How large the volume will be, as far as one can tell now. Asked once there is a part.
    fn expected_bytes(&self) -> u64;
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Snapshots that were removed.
    pub removed: usize,
    /// Snapshots that nothing needs and that could not be removed now.
    pub left: usize,
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadProgress {
    /// Blocks of 512 KiB that are there, earlier attempts included.
    pub done: u64,
    /// Blocks that have to be sent in all.
    pub total: u64,
    /// Blocks a second, lately.
    pub per_second: u64,
    /// Time left at that rate; `None` before there is one.
    pub left: Option<Duration>,
}

/// Watches an upload.
pub trait UploadWatch: Send + Sync {
    /// Whether to give up.
    fn is_cancelled(&self) -> bool;

    /// Told now and then.
    fn progress(&self, progress: UploadProgress);
}

/// Takes the blocks of a snapshot, from several threads and in any order. Blocks that it is not given are zero.
pub trait BlockVisitor: Sync {
    /// A block whose digest is right.
    fn block(&self, index: u64, bytes: &[u8]) -> Result<()>;

    /// A block that is not what the manifest lists. An error ends the reading.
    fn damaged(&self, place: &str, index: u64, reason: &str) -> Result<()>;
}

/// Keeps the finished volumes of caches. Calls may take long and wait for networks: make them off the runtime's threads.
pub trait SnapshotStore: fmt::Debug + Send + Sync {
    /// Sends parts of a volume while others are still being built, until `feed` ends. Nothing depends on it: [`publish`](Self::publish)
    /// sends what is missing, and again what turned out to lie elsewhere. The caller holds the
    /// cache's lock, as for `publish`.
    fn send_ahead(&self, volume: &UnfinishedVolume<'_>, feed: &dyn PartFeed, watch: &dyn UploadWatch) -> Result<()>;

    /// Keeps a volume and says how. `None`: the directory, which has it already, is all there is.
    ///
    /// A call for the same cache and volume that was interrupted is gone on with. When it returns, the snapshot can be used.
    fn publish(&self, volume: &FinishedVolume<'_>, watch: &dyn UploadWatch) -> Result<Option<Published>>;

    /// Reads every block back from where it is kept and compares it with the manifest.
    fn read_back(
        &self,
        store: &DirectoryStore,
        manifest: &SnapshotManifest,
        published: Option<&Published>,
        visitor: &dyn BlockVisitor,
    ) -> Result<()>;

    /// Removes what no cache record of `store` needs any more. One that cannot be removed does not keep the others.
    fn collect(&self, store: &DirectoryStore) -> Result<Collected>;
}
