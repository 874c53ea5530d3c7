//! What one image may cost; hostile layers meet these before they meet memory or disk.

/// Bounds on one image. The defaults are far above real layers and far below what hurts a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the finished image in bytes, sparse files counted in full. Default 1 TiB; the format ends at 16 TiB.
    pub max_image_bytes: u64,
    /// Entries in the tar, headers of replaced files included. Default 4 million.
    pub max_entries: u64,
    /// Length of one path in bytes, after links in it are followed. Default 4,095, what Linux accepts.
    pub max_path_bytes: usize,
    /// Directory levels. Default 2,047, the deepest that `max_path_bytes` allows.
    pub max_depth: usize,
    /// Names, link targets and xattrs kept in memory, in bytes. Default 512 MiB.
    pub max_metadata_bytes: u64,
    /// Names and values of all xattrs of one file, in bytes. Default 128 KiB; the format ends near 256 KiB.
    pub max_xattr_bytes: usize,
    /// Body of one PAX header or GNU long name, in bytes. Default 1 MiB, what Go's tar reader accepts.
    pub max_header_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_image_bytes: 1 << 40,
            max_entries: 4_000_000,
            max_path_bytes: 4_095,
            max_depth: 2_047,
            max_metadata_bytes: 512 << 20,
            max_xattr_bytes: 128 << 10,
            max_header_bytes: 1 << 20,
        }
    }
}
