//! What every store can do, whether it is a directory, an object store or a mounted volume.

use std::fmt;
use std::io::{self, Seek, Write};

use imagecache_core::Digest;

use crate::block::Blocks;
use crate::error::Result;
use crate::part::Part;
use crate::record::{LayerRecord, PartRecord, PatchRecord};
use crate::snapshot::{SnapshotId, SnapshotManifest};

/// Reads anywhere, from any thread.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset` on; fewer bytes than asked for only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// Takes the bytes of a part. Nothing is visible before [`publish`](Self::publish); dropping it leaves nothing behind.
///
/// Bytes come in order, except that the first 512 KiB may be written again at any time: image writers put their
/// superblock last.
pub trait PartSink: Write + Seek + Send {
    /// Makes the part durable and visible with the record that `record` makes of its length and digests.
    fn publish(self: Box<Self>, record: Box<dyn FnOnce(Blocks) -> PartRecord + '_>) -> Result<PartRecord>;
}

/// Keeps parts, OCI blobs and snapshots. What is written is visible only when complete and durable.
pub trait Store: fmt::Debug + Send + Sync {
    /// Where it is, for messages.
    fn location(&self) -> String;

    /// The record of a finished layer.
    fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>>;

    /// The record of a finished patch.
    fn patch(&self, chain_id: &Digest) -> Result<Option<PatchRecord>>;

    /// Opens the image of a finished part. Its bytes are not checked: compare them with the record's digests.
    fn open_part(&self, part: &Part) -> Result<Box<dyn ReadAt>>;

    /// Starts writing a part.
    fn create_part(&self, part: &Part) -> Result<Box<dyn PartSink>>;

    /// Reads an OCI blob and checks its digest.
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>>;

    /// Keeps an OCI blob. The caller has checked its digest.
    fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<()>;

    /// Reads a snapshot's manifest and checks that it makes sense.
    fn snapshot(&self, id: &SnapshotId) -> Result<Option<SnapshotManifest>>;

    /// Opens the volume's own bytes, at the offsets that they have in the volume. Not checked.
    fn open_own(&self, id: &SnapshotId) -> Result<Box<dyn ReadAt>>;

    /// Keeps a snapshot whose own bytes are `own`: pieces with their offset in the volume.
    fn put_snapshot(&self, manifest: &SnapshotManifest, own: &[(u64, Vec<u8>)]) -> Result<()>;
}

/// Reads as much as there is, whatever `read_at` gives at once.
pub(crate) fn read_full(source: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(offset + filled as u64, rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl ReadAt for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}
