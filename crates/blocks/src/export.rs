//! Writing a volume out flat: what a block device made of the snapshot would hold.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;

use crate::block::{BLOCK, BLOCK_BYTES, BlockDigest};
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::{SnapshotManifest, Source};
use crate::store::{ReadAt, Store, read_full};

/// Writes the volume to `file`, which is at `path`, and waits for the disk.
///
/// Into a regular file zeros are left out (sparse). On a block device every byte is written. Each block is checked
/// against its digest on the way. `progress` is told how many of the volume's bytes are done.
///
/// # Errors
/// `Damaged` naming the file whose block is wrong.
pub fn export(
    store: &dyn Store,
    manifest: &SnapshotManifest,
    file: &File,
    path: &Path,
    mut progress: impl FnMut(u64),
) -> Result<()> {
    let is_device = file.metadata().at("open", path)?.file_type().is_block_device();
    if !is_device {
        // Also forgets what the file held before.
        file.set_len(0).at("write", path)?;
        file.set_len(manifest.volume_bytes).at("write", path)?;
    }
    let put = |block: u64, bytes: &[u8]| -> Result<()> {
        let needed = Some(manifest.content_bytes());
        file.write_all_at(bytes, block * BLOCK_BYTES)
            .map_err(|error| Error::io_needing("write", path, error, needed))?;
        Ok(())
    };
    let mut buffer = vec![0; BLOCK];
    let mut next = 0;
    for extent in &manifest.extents {
        if is_device {
            buffer.fill(0);
            (next..extent.first_block).try_for_each(|block| put(block, &buffer))?;
        }
        let (source, name, base) = open_source(store, manifest, &extent.source, extent.first_block)?;
        for index in 0..extent.blocks {
            let block = extent.first_block + index;
            read_block(source.as_ref(), (base + index) * BLOCK_BYTES, &mut buffer).at("read", &name)?;
            let digest = BlockDigest::of(&buffer);
            check(manifest, block, digest, &name, base + index)?;
            if is_device || digest != BlockDigest::ZERO {
                put(block, &buffer)?;
            }
            progress((block + 1) * BLOCK_BYTES);
        }
        next = extent.first_block + extent.blocks;
    }
    if is_device {
        buffer.fill(0);
        (next..manifest.volume_bytes / BLOCK_BYTES).try_for_each(|block| put(block, &buffer))?;
    }
    file.sync_all()
        .map_err(|error| Error::io_needing("write", path, error, Some(manifest.content_bytes())))?;
    progress(manifest.volume_bytes);
    Ok(())
}

/// What holds an extent, its name for messages, and the block in it at which the extent starts.
fn open_source(
    store: &dyn Store,
    manifest: &SnapshotManifest,
    source: &Source,
    first_block: u64,
) -> Result<(Box<dyn ReadAt>, String, u64)> {
    match source.part() {
        Some(part) => Ok((store.open_part(&part)?, part.image_path().display().to_string(), 0)),
        None => Ok((
            store.open_own(&manifest.id)?,
            format!("volume of {}", manifest.id),
            first_block,
        )),
    }
}

/// Reads one block; what lies beyond the end is zero.
pub(crate) fn read_block(source: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    let count = read_full(source, offset, buffer)?;
    if let Some(rest) = buffer.get_mut(count..) {
        rest.fill(0);
    }
    Ok(())
}

fn check(manifest: &SnapshotManifest, block: u64, found: BlockDigest, name: &str, index: u64) -> Result<()> {
    let expected = usize::try_from(block).ok().and_then(|block| manifest.blocks.get(block));
    if expected == Some(&found) {
        return Ok(());
    }
    Err(Error::damaged(
        name,
        format!("its block {index} does not have the digest that {} lists", manifest.id),
    ))
}
