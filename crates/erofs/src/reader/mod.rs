//! Reads uncompressed EROFS images back; every number in them is checked before it is used.
//!
//! An image may be hostile: no call panics, loops without end or allocates more than the image's own size allows.
//! Compressed and chunk-based files, and features beyond a device table, are refused with a clear error. Addresses are
//! those of the flat image: data that a multi-device volume keeps on another device is not read from here.

mod directory;
mod inode;
mod source;
mod walk;
mod xattrs;

use crate::disk::{
    BLOCK, BLOCK_BITS, BLOCK_BYTES, COMPAT_CHECKSUM, INCOMPAT_DEVICE_TABLE, MAGIC, SUPERBLOCK_OFFSET, le16, le32, le64,
};
use crate::error::{Error, Result};
use crate::resolve::{self, Namespace, Step, clean};
use crate::superblock;

pub use directory::DirectoryEntry;
pub use inode::{Extent, Inode};
pub use source::{FileReader, ReadAt, Seekable};

use crate::disk::{FileType, SYMLINK_BYTES};

/// An opened image.
#[derive(Debug)]
pub struct Image<R> {
    source: R,
    blocks: u64,
    meta_start: u64,
    xattr_start: u64,
    root_nid: u64,
    epoch: u64,
    inodes: u64,
    uuid: [u8; 16],
}

impl<R: ReadAt> Image<R> {
    /// Opens an image and verifies its superblock and the checksum of block 0.
    ///
    /// # Errors
    /// Fails when the source cannot be read, is no EROFS image, is damaged, or uses a feature that is not read here.
    pub fn open(source: R) -> Result<Self> {
        let mut block = vec![0u8; BLOCK];
        source.read_exact_at(&mut block, 0).map_err(Error::ReadImage)?;
        let field = &block[SUPERBLOCK_OFFSET..];
        if le32(field, 0) != MAGIC {
            return Err(Error::image("no EROFS superblock"));
        }
        if field[12] != BLOCK_BITS || field[90] != 0 {
            return Err(Error::image("its blocks are not 4 KiB"));
        }
        let incompat = le32(field, 80);
        if incompat & !INCOMPAT_DEVICE_TABLE != 0 {
            return Err(Error::image(format!("feature_incompat {incompat:#x} is not supported")));
        }
        if le32(field, 8) & COMPAT_CHECKSUM != 0 && superblock::checksum(&block) != le32(field, 4) {
            return Err(Error::image("the checksum of block 0 is wrong"));
        }
        Ok(Self {
            blocks: u64::from(superblock::stated_blocks(&block)),
            meta_start: u64::from(le32(field, 40)) * BLOCK_BYTES,
            xattr_start: u64::from(le32(field, 44)) * BLOCK_BYTES,
            root_nid: u64::from(le16(field, 14)),
            epoch: le64(field, 24),
            inodes: le64(field, 16),
            uuid: field
                .get(48..64)
                .and_then(|raw| raw.try_into().ok())
                .unwrap_or_default(),
            source,
        })
    }

    /// Blocks of the whole filesystem as its superblock states them.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Inodes as the superblock states them.
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// Identity of the filesystem.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The root directory.
    ///
    /// # Errors
    /// Fails when its inode is damaged or no directory.
    pub fn root(&self) -> Result<Inode> {
        let root = self.inode(self.root_nid)?;
        if root.file_type == FileType::Directory {
            Ok(root)
        } else {
            Err(Error::image("the root is not a directory"))
        }
    }

    /// Finds a path from the root; no symlink is followed, so one in the middle of the path finds nothing.
    ///
    /// # Errors
    /// Fails when the image is damaged or cannot be read.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Inode>> {
        let mut at = self.root()?;
        for name in clean(path) {
            if at.file_type != FileType::Directory {
                return Ok(None);
            }
            match self.child(&at, name)? {
                Some(nid) => at = self.inode(nid)?,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Finds a path and follows every symlink on the way, the last one too, never out of the root: what containerd
    /// calls the root path. A path below a file finds nothing.
    ///
    /// # Errors
    /// Fails when the image is damaged or cannot be read, and on a loop of links.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<Inode>> {
        let root = self.root()?;
        let space = Space { image: self, root };
        let resolved = match resolve::resolve(&space, &clean(path), SYMLINK_BYTES) {
            Ok(resolved) => resolved,
            Err(Error::Entry { reason, .. }) if reason.contains("used as a directory") => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(match resolved.other {
            Some(other) => Some(other),
            None if resolved.missing.is_empty() => Some(resolved.directory),
            None => None,
        })
    }

    /// Target of a symlink.
    ///
    /// # Errors
    /// Fails when the inode is no symlink, or its target is empty, too long or cannot be read.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>> {
        let size = usize::try_from(inode.size).unwrap_or(usize::MAX);
        if inode.file_type != FileType::Symlink || size == 0 || size > SYMLINK_BYTES {
            return Err(Error::image(format!(
                "inode {} has no usable symlink target",
                inode.nid
            )));
        }
        let mut target = vec![0; size];
        self.read_exact(inode, &mut target, 0)?;
        Ok(target)
    }

    /// Reads content from `offset` on; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// Fails when the source cannot be read or ends inside the file.
    pub fn read_at(&self, inode: &Inode, into: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        for extent in inode.extents() {
            let at = offset + done as u64;
            if at < extent.file_offset || at >= extent.file_offset + extent.bytes || done == into.len() {
                continue;
            }
            let skip = at - extent.file_offset;
            let left = usize::try_from(extent.bytes - skip).unwrap_or(usize::MAX);
            let now = left.min(into.len() - done);
            let position = extent
                .position
                .checked_add(skip)
                .ok_or_else(|| Error::image("an address overflows"))?;
            self.source
                .read_exact_at(&mut into[done..done + now], position)
                .map_err(Error::ReadImage)?;
            done += now;
        }
        Ok(done)
    }

    /// The content of a file as a stream.
    pub fn file<'a>(&'a self, inode: &Inode) -> FileReader<'a, R> {
        FileReader::new(self, *inode)
    }

    fn read_exact(&self, inode: &Inode, into: &mut [u8], offset: u64) -> Result<()> {
        let wanted = into.len();
        if self.read_at(inode, into, offset)? == wanted {
            Ok(())
        } else {
            Err(Error::image(format!("inode {} ends early", inode.nid)))
        }
    }
}

/// Lets paths be resolved in an image.
struct Space<'a, R> {
    image: &'a Image<R>,
    root: Inode,
}

/// A step needs little of an inode, and resolving copies it about.
impl<R: ReadAt> Namespace for Space<'_, R> {
    type Node = Inode;

    fn root(&self) -> Inode {
        self.root
    }

    fn step(&self, directory: Inode, name: &[u8]) -> Result<Step<Inode>> {
        let Some(nid) = self.image.child(&directory, name)? else {
            return Ok(Step::Missing);
        };
        let inode = self.image.inode(nid)?;
        Ok(match inode.file_type {
            FileType::Directory => Step::Directory(inode),
            FileType::Symlink => Step::Link(self.image.read_link(&inode)?),
            _ => Step::Other(inode),
        })
    }
}
