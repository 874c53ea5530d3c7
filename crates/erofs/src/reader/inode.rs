//! Inodes: decoded, and every address in them checked against the filesystem's size.

use super::{Image, ReadAt};
use crate::disk::{
    BLOCK_BYTES, COMPACT_INODE_BYTES, EXTENDED_INODE_BYTES, FileType, LAYOUT_INLINE, LAYOUT_PLAIN, NID_BYTES,
    XATTR_HEADER_BYTES, blocks_for, le16, le32, le64, unpack_device,
};
use crate::error::{Error, Result};
use crate::tree::PERMISSION_BITS;

/// One inode of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Node id: the inode number that `stat` shows.
    pub nid: u64,
    /// Type of the file.
    pub file_type: FileType,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; 0 for devices and pipes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime_seconds: i64,
    /// Nanoseconds below one second.
    pub mtime_nanoseconds: u32,
    /// Link count.
    pub links: u32,
    /// Major and minor number of a device, else zeros.
    pub device: (u32, u32),
    /// First block of the content, if any of it lies in whole blocks.
    pub start_block: u32,
    /// Position behind inode and xattrs, where an inline tail is.
    tail_position: u64,
    tail_bytes: u64,
    pub(super) xattr_position: u64,
    pub(super) xattr_bytes: usize,
}

/// A contiguous part of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file, in bytes.
    pub file_offset: u64,
    /// Where in the image, in bytes.
    pub position: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Inode {
    /// Where the content is: whole blocks, then an inline tail; either may be missing.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + use<> {
        let whole = self.size - self.tail_bytes;
        let plain = Extent {
            file_offset: 0,
            position: u64::from(self.start_block) * BLOCK_BYTES,
            bytes: whole,
        };
        let tail = Extent {
            file_offset: whole,
            position: self.tail_position,
            bytes: self.tail_bytes,
        };
        [plain, tail].into_iter().filter(|extent| extent.bytes > 0)
    }
}

impl<R: ReadAt> Image<R> {
    /// Reads the inode with this node id.
    ///
    /// # Errors
    /// Fails when it lies outside the image, is damaged, or keeps its data in a way that is not read here.
    pub fn inode(&self, nid: u64) -> Result<Inode> {
        let bad = |reason: &str| Error::image(format!("inode {nid}: {reason}"));
        let position = nid
            .checked_mul(NID_BYTES)
            .and_then(|offset| offset.checked_add(self.meta_start));
        let end = self.blocks * BLOCK_BYTES;
        let position = position
            .filter(|at| {
                at.checked_add(COMPACT_INODE_BYTES as u64)
                    .is_some_and(|after| after <= end)
            })
            .ok_or_else(|| bad("lies outside the filesystem"))?;
        let mut raw = [0u8; EXTENDED_INODE_BYTES];
        self.source
            .read_exact_at(&mut raw[..COMPACT_INODE_BYTES], position)
            .map_err(Error::ReadImage)?;
        let format = le16(&raw, 0);
        let extended = format & 1 != 0;
        let layout = format >> 1;
        if layout != LAYOUT_PLAIN && layout != LAYOUT_INLINE {
            return Err(bad("compressed, chunked or unknown layout"));
        }
        let inode_bytes = if extended {
            self.source
                .read_exact_at(&mut raw[COMPACT_INODE_BYTES..], position + COMPACT_INODE_BYTES as u64)
                .map_err(Error::ReadImage)?;
            EXTENDED_INODE_BYTES
        } else {
            COMPACT_INODE_BYTES
        };
        let mode = le16(&raw, 4);
        let file_type = FileType::from_mode(mode).ok_or_else(|| bad("unknown file type"))?;
        let xattr_bytes = match le16(&raw, 2) {
            0 => 0,
            count => XATTR_HEADER_BYTES + 4 * (usize::from(count) - 1),
        };
        let has_content = matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink);
        let stated = if extended {
            le64(&raw, 8)
        } else {
            u64::from(le32(&raw, 8))
        };
        let size = if has_content { stated } else { 0 };
        let tail_position = position + (inode_bytes + xattr_bytes) as u64;
        let tail_bytes = match layout {
            LAYOUT_INLINE if size > 0 => (size - 1) % BLOCK_BYTES + 1,
            _ => 0,
        };
        if tail_bytes > 0 && tail_position % BLOCK_BYTES + tail_bytes > BLOCK_BYTES {
            return Err(bad("its inline tail crosses a block"));
        }
        let start_block = if has_content { le32(&raw, 16) } else { 0 };
        let whole = size - tail_bytes;
        if whole > 0 && u64::from(start_block) + blocks_for(whole) > self.blocks {
            return Err(bad("its data ends beyond the filesystem"));
        }
        let device = match file_type {
            FileType::CharDevice | FileType::BlockDevice => unpack_device(le32(&raw, 16)),
            _ => (0, 0),
        };
        let (uid, gid, mtime_seconds, mtime_nanoseconds, links) = if extended {
            (
                le32(&raw, 24),
                le32(&raw, 28),
                le64(&raw, 32) as i64,
                le32(&raw, 40),
                le32(&raw, 44),
            )
        } else {
            (
                u32::from(le16(&raw, 24)),
                u32::from(le16(&raw, 26)),
                self.epoch as i64,
                0,
                u32::from(le16(&raw, 6)),
            )
        };
        Ok(Inode {
            nid,
            file_type,
            mode: mode & PERMISSION_BITS,
            uid,
            gid,
            size,
            mtime_seconds,
            mtime_nanoseconds,
            links,
            device,
            start_block,
            tail_position,
            tail_bytes,
            xattr_position: position + inode_bytes as u64,
            xattr_bytes,
        })
    }
}
