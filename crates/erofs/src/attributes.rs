//! Owner, mode, time and xattrs of a file, as all writers take them and the reader gives them.

/// One extended attribute with its full name (`user.note`), value in raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: Vec<u8>,
    /// Value; may hold any byte.
    pub value: Vec<u8>,
}

/// What a file is besides its type and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky (`0o7777`); type bits are ignored.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, negative before.
    pub mtime_seconds: i64,
    /// Nanoseconds below one second.
    pub mtime_nanoseconds: u32,
    /// Extended attributes in any order; written sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// Mode of a directory that nobody described, as containerd creates it.
const DIRECTORY_MODE: u16 = 0o755;
/// Mode of a plain file that nobody described.
const FILE_MODE: u16 = 0o644;

impl Attributes {
    /// `0755 root:root`, time 0: a directory that nobody described.
    pub fn directory() -> Self {
        Self::with_mode(DIRECTORY_MODE)
    }

    /// `0644 root:root`, time 0: a file that nobody described.
    pub fn file() -> Self {
        Self::with_mode(FILE_MODE)
    }

    /// Owned by root, time 0, no xattrs.
    pub fn with_mode(mode: u16) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime_seconds: 0,
            mtime_nanoseconds: 0,
            xattrs: Vec::new(),
        }
    }
}
