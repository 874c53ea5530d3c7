//! Numbers and record shapes of the EROFS format that writer and reader share.

/// Block size of every image, in bytes. 4 KiB is the only size that Linux 5.4 mounts.
pub const BLOCK_BYTES: u64 = 4096;
pub(crate) const BLOCK: usize = 4096;

pub(crate) const MAGIC: u32 = 0xE0F5_E1E2;
/// Byte offset of the superblock in block 0.
pub(crate) const SUPERBLOCK_OFFSET: usize = 1024;
pub(crate) const SUPERBLOCK_BYTES: usize = 128;
/// log2 of the block size, as the superblock stores it.
pub(crate) const BLOCK_BITS: u8 = 12;
/// feature_compat: the superblock carries a checksum.
pub(crate) const COMPAT_CHECKSUM: u32 = 1;
/// feature_compat: inode times are modification times.
pub(crate) const COMPAT_MTIME: u32 = 2;
/// feature_incompat: a table of extra devices follows.
pub(crate) const INCOMPAT_DEVICE_TABLE: u32 = 8;
/// Bytes of one device slot; `devt_slotoff` counts in these.
pub(crate) const DEVICE_SLOT_BYTES: usize = 128;

/// Node ids count in units of 32 bytes from the start of the metadata.
pub(crate) const NID_BYTES: u64 = 32;
pub(crate) const EXTENDED_INODE_BYTES: usize = 64;
pub(crate) const COMPACT_INODE_BYTES: usize = 32;
pub(crate) const LAYOUT_PLAIN: u16 = 0;
pub(crate) const LAYOUT_INLINE: u16 = 2;
/// Start block of an inode that has no whole block.
pub(crate) const NO_BLOCK: u32 = u32::MAX;

pub(crate) const DIRENT_BYTES: usize = 12;
/// Longest file name.
pub(crate) const NAME_BYTES: usize = 255;
/// Longest symlink target (PATH_MAX without its NUL).
pub(crate) const SYMLINK_BYTES: usize = 4095;
pub(crate) const XATTR_HEADER_BYTES: usize = 12;
/// Largest xattr value (16-bit length).
pub(crate) const XATTR_VALUE_BYTES: usize = 65_535;

/// Type of a file. The numbers are those of directory entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Character device.
    CharDevice = 3,
    /// Block device.
    BlockDevice = 4,
    /// Named pipe.
    Fifo = 5,
    /// Socket.
    Socket = 6,
    /// Symbolic link.
    Symlink = 7,
}

impl FileType {
    /// The type bits of `st_mode`.
    pub fn mode_bits(self) -> u16 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
            Self::Symlink => 0o120_000,
        }
    }

    /// The type that `st_mode` names, if it names one.
    pub fn from_mode(mode: u16) -> Option<Self> {
        const ALL: [FileType; 7] = [
            FileType::Regular,
            FileType::Directory,
            FileType::CharDevice,
            FileType::BlockDevice,
            FileType::Fifo,
            FileType::Socket,
            FileType::Symlink,
        ];
        ALL.into_iter().find(|kind| kind.mode_bits() == mode & 0o170_000)
    }
}

/// Packs a device number as the format stores it; `None` if Linux has no such number (12 bits major, 20 bits minor).
pub(crate) fn pack_device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// The opposite of [`pack_device`].
pub(crate) fn unpack_device(packed: u32) -> (u32, u32) {
    ((packed >> 8) & 0xfff, (packed & 0xff) | ((packed >> 12) & 0xf_ff00))
}

/// Blocks that `bytes` fill, the last one possibly in part.
pub(crate) fn blocks_for(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

/// The 16-bit little-endian number at `at`; 0 beyond the end.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |raw| u16::from_le_bytes([raw[0], raw[1]]))
}

/// The 32-bit little-endian number at `at`; 0 beyond the end.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}

/// The 64-bit little-endian number at `at`; 0 beyond the end.
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_round_trip() {
        for (major, minor) in [(0, 0), (1, 3), (8, 0), (259, 70_000), (4095, (1 << 20) - 1)] {
            let packed = pack_device(major, minor).expect("in range");
            assert_eq!(unpack_device(packed), (major, minor), "{major}:{minor}");
        }
        assert_eq!(pack_device(259, 70_000), Some(0x1111_0370));
        assert_eq!(pack_device(4096, 0), None);
        assert_eq!(pack_device(0, 1 << 20), None);
    }
}
