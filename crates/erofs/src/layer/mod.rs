//! One image layer, tar to image, in a single pass.

mod apply;
mod namespace;

use std::io::{Read, Seek, Write};

use crate::attributes::Attributes;
use crate::disk::{BLOCK_BYTES, blocks_for};
use crate::error::{Error, Result, printable};
use crate::limits::Limits;
use crate::output::Output;
use crate::plan::Plan;
use crate::superblock::Superblock;
use crate::tar::{EntryKind, TarReader};
use crate::tree::Tree;

/// How a layer is written.
#[derive(Clone, Debug, Default)]
pub struct LayerOptions {
    /// Identity of the filesystem; derive it from the layer's diffID.
    pub uuid: [u8; 16],
    /// Bounds on the image.
    pub limits: Limits,
}

/// What a layer needs from the layers below it, and how large it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// Size of the image in bytes, a multiple of 4,096.
    pub image_bytes: u64,
    /// Inodes in the image.
    pub inodes: u64,
    /// Bytes of the tar, everything after its end marker included.
    pub tar_bytes: u64,
    /// Directories without an entry of their own, ascending, written as `0755 root:root` with time 0: they should look
    /// like the same directory of the lower layers. The empty path is the root.
    pub implicit_directories: Vec<Vec<u8>>,
    /// Hard links whose target is not in this layer, ascending by path; nothing is written for them.
    pub external_links: Vec<ExternalLink>,
    /// Whether the layer marks its root as opaque. Overlayfs does not honour that on a root: whoever stacks layers
    /// leaves out those below.
    pub root_is_opaque: bool,
}

/// A hard link to a file of a lower layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExternalLink {
    /// Path of the link, without a leading slash, links in its directory part followed inside the layer.
    pub path: Vec<u8>,
    /// Path that it links to, without a leading slash.
    pub target: Vec<u8>,
}

/// Label of layer images.
const LABEL: &str = "layer";

/// Writes the image of one layer: file data as it arrives, then all metadata, then block 0.
///
/// Whiteouts become overlayfs whiteouts (`0:0` character devices) and opaque xattrs. Paths are cleaned and bounded as
/// containerd does; symlinked parents are followed inside the layer only. Whiteouts hide lower layers only, never
/// entries of the same layer, whatever the order; a directory that also has a whiteout is opaque.
/// `trusted.*` xattrs are dropped, so that a layer cannot fake overlay metadata, as are xattrs that Linux would not set
/// (unknown namespaces, `user.*` on anything but files and directories). Attributes of a hard-link entry apply to the
/// shared inode. Times before 1970 are kept.
///
/// `image` is written from its start upward in large writes; only block 0 is written again at the end, so an image that
/// was cut off is not taken for a whole one. Memory: about 150 bytes for each entry, and names.
///
/// # Errors
/// Fails when the input or the image cannot be read or written, when the tar is malformed, passes a limit, or holds
/// something that no filesystem can hold. What was written until then is garbage.
pub fn write_layer<R: Read, W: Write + Seek>(tar: R, image: W, options: &LayerOptions) -> Result<LayerSummary> {
    let limits = &options.limits;
    let mut reader = TarReader::new(tar, limits.max_header_bytes);
    let mut output = Output::new(image);
    output.zeros(BLOCK_BYTES)?;
    let mut layer = apply::Layer::new(limits)?;
    let mut entries = 0;
    while let Some(entry) = reader.next_entry()? {
        entries += 1;
        if entries > limits.max_entries {
            return Err(Error::limit("entries", &entry.path, entries, limits.max_entries));
        }
        let end = output.position();
        let needed = end.saturating_add(blocks_for(entry.size).saturating_mul(BLOCK_BYTES));
        if entry.kind == EntryKind::Regular && needed > limits.max_image_bytes {
            return Err(Error::limit("image bytes", &entry.path, needed, limits.max_image_bytes));
        }
        let start_block = u32::try_from(end / BLOCK_BYTES)
            .map_err(|_| Error::limit("blocks", &entry.path, end / BLOCK_BYTES, u64::from(u32::MAX)))?;
        if layer.apply(&entry, start_block)? == apply::Data::Wanted {
            copy(&mut reader, &mut output)?;
            output.pad_to_block()?;
        }
        if layer.tree().metadata_bytes() > limits.max_metadata_bytes {
            let bytes = layer.tree().metadata_bytes();
            return Err(Error::limit(
                "metadata bytes",
                &entry.path,
                bytes,
                limits.max_metadata_bytes,
            ));
        }
    }
    let tar_bytes = reader.drain()?;
    let found = layer.finish()?;
    let (image_bytes, inodes) = finish_image(&found.tree, output, options.uuid, LABEL, limits.max_image_bytes)?;
    Ok(LayerSummary {
        image_bytes,
        inodes,
        tar_bytes,
        implicit_directories: found.implicit_directories,
        external_links: found.external_links,
        root_is_opaque: found.root_is_opaque,
    })
}

/// Puts the metadata behind the data and block 0 in front; gives the image's size and its inodes.
pub(crate) fn finish_image<W: Write + Seek>(
    tree: &Tree,
    mut output: Output<W>,
    uuid: [u8; 16],
    label: &str,
    max_image_bytes: u64,
) -> Result<(u64, u64)> {
    let plan = Plan::new(tree)?;
    let meta_block = output.position() / BLOCK_BYTES;
    let blocks = meta_block + u64::from(plan.blocks());
    if blocks * BLOCK_BYTES > max_image_bytes {
        return Err(Error::limit("image bytes", b"", blocks * BLOCK_BYTES, max_image_bytes));
    }
    let address =
        |block: u64| u32::try_from(block).map_err(|_| Error::limit("blocks", b"", block, u64::from(u32::MAX)));
    let superblock = Superblock {
        uuid,
        blocks: address(blocks)?,
        meta_block: address(meta_block)?,
        inodes: plan.inodes(),
        label: label.to_owned(),
    };
    plan.write_to(superblock.meta_block, &mut output)?;
    output.finish(&superblock.to_block())?;
    Ok((blocks * BLOCK_BYTES, superblock.inodes))
}

/// Copies the current entry's data straight into the output's buffer.
fn copy<R: Read, W: Write>(reader: &mut TarReader<R>, output: &mut Output<W>) -> Result<()> {
    loop {
        let count = reader.read_data(output.space()?)?;
        if count == 0 {
            return Ok(());
        }
        output.advance(count);
    }
}

/// Owner and mode of an entry as the filesystem can hold them.
fn attributes(entry: &crate::tar::Entry) -> Result<Attributes> {
    // Linux takes the highest id as "no change"; nobody can own a file with it.
    let id = |name: &str, value: i64| {
        u32::try_from(value)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| Error::Entry {
                path: printable(&entry.path),
                reason: format!("{name} {value} is out of range"),
            })
    };
    Ok(Attributes {
        mode: (entry.mode & i64::from(crate::tree::PERMISSION_BITS)) as u16,
        uid: id("uid", entry.uid)?,
        gid: id("gid", entry.gid)?,
        mtime_seconds: entry.mtime_seconds,
        mtime_nanoseconds: entry.mtime_nanoseconds,
        xattrs: Vec::new(),
    })
}
