//! Writing a volume out flat: what a block device made of the snapshot would hold.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::block::{BLOCK, BLOCK_BYTES, is_zero};
use crate::directory::DirectoryStore;
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::SnapshotManifest;
use crate::snapshot_store::{BlockVisitor, Published, SnapshotStore};
use crate::volume_reader::damaged_block;

/// Writes the volume to `file`, which is at `path`, and waits for the disk. Returns its size in bytes.
///
/// Blocks come from `snapshots`, where the volume is kept as `published`, and each is checked against its digest on the
/// way. Into a regular file zeros are left out (sparse). On a block device every byte is written.
///
/// # Errors
/// `Damaged` naming the file or snapshot whose block is wrong.
pub fn export(
    snapshots: &dyn SnapshotStore,
    store: &DirectoryStore,
    manifest: &SnapshotManifest,
    published: Option<&Published>,
    file: &File,
    path: &Path,
) -> Result<u64> {
    let bytes = published.map_or(manifest.volume_bytes, |published| published.volume_bytes);
    let is_device = file.metadata().at("open", path)?.file_type().is_block_device();
    if !is_device {
        // Also forgets what the file held before.
        file.set_len(0).at("write", path)?;
        file.set_len(bytes).at("write", path)?;
    }
    let writer = Writer {
        file,
        path,
        needed: manifest.content_bytes(),
        written: is_device.then(Mutex::default),
    };
    snapshots.read_back(store, manifest, published, &writer)?;
    writer.fill(bytes / BLOCK_BYTES)?;
    file.sync_all()
        .map_err(|error| Error::io_needing("write", path, error, Some(writer.needed)))?;
    Ok(bytes)
}

struct Writer<'a> {
    file: &'a File,
    path: &'a Path,
    needed: u64,
    /// What was written of a device, where zeros count too.
    written: Option<Mutex<BTreeSet<u64>>>,
}

impl Writer<'_> {
    fn put(&self, index: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, index * BLOCK_BYTES)
            .map_err(|error| Error::io_needing("write", self.path, error, Some(self.needed)))
    }

    /// Writes zeros to the blocks of a device that were not written.
    fn fill(&self, blocks: u64) -> Result<()> {
        let Some(written) = &self.written else { return Ok(()) };
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let zeros = vec![0; BLOCK];
        (0..blocks)
            .filter(|index| !written.contains(index))
            .try_for_each(|index| self.put(index, &zeros))
    }
}

impl BlockVisitor for Writer<'_> {
    fn block(&self, index: u64, bytes: &[u8]) -> Result<()> {
        match &self.written {
            Some(written) => written.lock().unwrap_or_else(PoisonError::into_inner).insert(index),
            None if is_zero(bytes) => return Ok(()),
            None => true,
        };
        self.put(index, bytes)
    }

    fn damaged(&self, place: &str, index: u64, reason: &str) -> Result<()> {
        Err(damaged_block(place, index, reason))
    }
}
