//! What tells whether a file was written to.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A file at one moment; another one after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl FileState {
    pub(crate) fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }

    /// The file that has this name now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|meta| Self::of(&meta))
    }

    /// Its number in its filesystem.
    pub(crate) fn inode(self) -> u64 {
        self.inode
    }

    /// Whether `now` is the very same file, and it was written to. Another file of the same name says nothing of this one.
    pub(crate) fn is_written_in(self, now: Self) -> bool {
        (self.device, self.inode) == (now.device, now.inode) && self != now
    }

    /// Whether it is the same file, as far as can be told after a start of the machine, which may number devices anew.
    pub(crate) fn is_still(self, now: Self) -> bool {
        Self {
            device: now.device,
            ..self
        } == now
    }

    /// As a mark has it; without the device, for the same reason.
    pub(crate) fn text(self) -> String {
        let (seconds, nanoseconds) = self.modified;
        format!("{} {} {seconds}.{nanoseconds:09}\n", self.inode, self.bytes)
    }
}
