//! The one error of this crate: whose bytes were wrong, and where.

use std::io;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tar stream could not be read; the source says why.
    #[error("cannot read the layer's tar stream")]
    ReadInput(#[source] io::Error),

    /// The image could not be written; the source says why (a full disk keeps its `io::ErrorKind`).
    #[error("cannot write the filesystem image")]
    WriteImage(#[source] io::Error),

    /// The tar stream is damaged or uses something that tar does not allow.
    #[error("malformed tar at byte {offset}, entry {entry:?}: {reason}")]
    Tar {
        /// Offset of the header that is wrong, in bytes from the start of the stream.
        offset: u64,
        /// Name of the entry as far as it is known; otherwise the entry before it, or empty.
        entry: String,
        /// What is wrong.
        reason: String,
    },

    /// A well-formed entry asks for something that no root filesystem can hold.
    #[error("cannot place {path:?}: {reason}")]
    Entry {
        /// Path as the tar or the caller gave it.
        path: String,
        /// What is wrong.
        reason: String,
    },

    /// A limit of [`crate::Limits`] (or of the format) would be passed.
    #[error("{what} of {path:?} would be {needed}, the limit is {limit}")]
    Limit {
        /// What is limited, with its unit.
        what: &'static str,
        /// The entry that passes the limit; empty when it is the image as a whole.
        path: String,
        /// What would be needed.
        needed: u64,
        /// What is allowed.
        limit: u64,
    },

    /// An EROFS image that is being read is damaged or uses features that this reader does not know.
    #[error("damaged or unsupported EROFS image: {0}")]
    Image(String),

    /// An EROFS image could not be read; the source says why.
    #[error("cannot read the filesystem image")]
    ReadImage(#[source] io::Error),
}

impl Error {
    pub(crate) fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry {
            path: printable(path),
            reason: reason.into(),
        }
    }

    pub(crate) fn limit(what: &'static str, path: &[u8], needed: u64, limit: u64) -> Self {
        Self::Limit {
            what,
            path: printable(path),
            needed,
            limit,
        }
    }

    pub(crate) fn image(reason: impl Into<String>) -> Self {
        Self::Image(reason.into())
    }
}

/// Longest part of a hostile name that an error message repeats.
const SHOWN_BYTES: usize = 512;

/// A path as text for a message: lossy, and cut when it is absurdly long.
pub(crate) fn printable(path: &[u8]) -> String {
    match path.get(..SHOWN_BYTES) {
        Some(head) if path.len() > SHOWN_BYTES => format!("{}…", String::from_utf8_lossy(head)),
        _ => String::from_utf8_lossy(path).into_owned(),
    }
}
