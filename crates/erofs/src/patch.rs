//! Patch images: the directories and linked files that a layer takes over from the layers below it.

use std::io::{Read, Seek, Write};

use crate::attributes::Attributes;
use crate::disk::{BLOCK_BYTES, FileType, blocks_for};
use crate::error::{Error, Result};
use crate::layer::finish_image;
use crate::limits::Limits;
use crate::output::Output;
use crate::resolve::clean;
use crate::tree::{Content, Kind, NodeId, Tree};

/// Identity and bounds of a patch image.
#[derive(Clone, Debug, Default)]
pub struct PatchOptions {
    /// Identity of the filesystem; derive it from the chain that the patch belongs to.
    pub uuid: [u8; 16],
    /// Bounds on the image.
    pub limits: Limits,
}

/// One inode of a patch that is no directory, under all its names.
pub struct PatchFile<R> {
    /// Paths without a leading slash; more than one are hard links to one inode. Never empty.
    pub paths: Vec<Vec<u8>>,
    /// Attributes of the inode.
    pub attributes: Attributes,
    /// What the inode is.
    pub content: PatchContent<R>,
}

/// What an inode of a patch is.
pub enum PatchContent<R> {
    /// A regular file of exactly `size` bytes, read from `data`.
    Regular {
        /// Size in bytes.
        size: u64,
        /// The bytes; reading stops after `size` of them.
        data: R,
    },
    /// Anything without data; [`Kind::Regular`] and [`Kind::Directory`] are refused.
    Special(Kind),
}

/// Label of patch images.
const LABEL: &str = "patch";

/// Writes an image of `directories` (path and attributes, the empty path being the root) and `files`.
///
/// The order of the arguments does not matter for the tree, but the data lies in the order of `files`. Directories that
/// are needed and not given become `0755 root:root` with time 0. Gives the size of the image in bytes.
///
/// # Errors
/// Fails when a path is given twice or below a file, when a file has fewer bytes than its size, on a passed limit, and
/// when reading or writing fails.
pub fn write_patch<R: Read, W: Write + Seek>(
    directories: &[(Vec<u8>, Attributes)],
    files: impl IntoIterator<Item = PatchFile<R>>,
    image: W,
    options: &PatchOptions,
) -> Result<u64> {
    let limits = &options.limits;
    let mut tree = Tree::new(&Attributes::directory())?;
    for (path, attributes) in directories {
        let node = tree.make_directories(&clean(path).join(&b'/'), &Attributes::directory())?;
        tree.merge_attributes(node, attributes)?;
    }
    let mut output = Output::new(image);
    output.zeros(BLOCK_BYTES)?;
    for file in files {
        let Some((first, more)) = file.paths.split_first() else {
            return Err(Error::entry(b"", "a file of a patch without a path"));
        };
        let kind = match file.content {
            PatchContent::Regular { size, data } => {
                let end = output.position();
                let needed = end.saturating_add(blocks_for(size).saturating_mul(BLOCK_BYTES));
                if needed > limits.max_image_bytes {
                    return Err(Error::limit("image bytes", first, needed, limits.max_image_bytes));
                }
                let start_block = u32::try_from(end / BLOCK_BYTES)
                    .map_err(|_| Error::limit("blocks", first, end / BLOCK_BYTES, u64::from(u32::MAX)))?;
                copy_exactly(first, data, size, &mut output)?;
                output.pad_to_block()?;
                Kind::Regular(Content::Extent { start_block, size })
            }
            PatchContent::Special(Kind::Regular(_) | Kind::Directory) => {
                return Err(Error::entry(
                    first,
                    "a patch takes files with data and directories in their own form",
                ));
            }
            PatchContent::Special(kind) => kind,
        };
        let (parent, name) = place(&mut tree, first)?;
        let node = tree.add(parent, &name, &file.attributes, kind)?;
        for path in more {
            let (parent, name) = place(&mut tree, path)?;
            tree.link(parent, &name, node)?;
        }
    }
    finish_image(&tree, output, options.uuid, LABEL, limits.max_image_bytes).map(|(bytes, _)| bytes)
}

/// The directory of a path, made if missing, and its last name.
fn place(tree: &mut Tree, path: &[u8]) -> Result<(NodeId, Vec<u8>)> {
    let names = clean(path);
    let Some((name, parents)) = names.split_last() else {
        return Err(Error::entry(path, "a file cannot be the root"));
    };
    let parent = tree.make_directories(&parents.join(&b'/'), &Attributes::directory())?;
    debug_assert_eq!(tree.file_type(parent), FileType::Directory);
    Ok((parent, name.to_vec()))
}

fn copy_exactly<R: Read, W: Write>(path: &[u8], mut data: R, size: u64, output: &mut Output<W>) -> Result<()> {
    let mut left = size;
    while left > 0 {
        let space = output.space()?;
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(space.len());
        let count = match data.read(&mut space[..room]) {
            Ok(0) => return Err(Error::entry(path, format!("its data ends {left} bytes early"))),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::ReadInput(error)),
        };
        output.advance(count);
        left -= count as u64;
    }
    Ok(())
}
