//! The one error of this crate: which file, what was tried, and whose problem it is.

use std::io;
use std::path::{Path, PathBuf};

use imagecache_core::ErrorKind;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store, a volume or a mount did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written; the source says why.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },

    /// The filesystem that holds the store is full.
    #[error("no space left to {operation} {}: {}; free some space or use a larger disk", path.display(), room(*free, *needed))]
    NoSpace {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Bytes that were free when it failed, when the system tells.
        free: Option<u64>,
        /// Bytes that were wanted at least, when known.
        needed: Option<u64>,
        /// Why it failed.
        #[source]
        source: io::Error,
    },

    /// Stored bytes are not what was stored.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },

    /// The directory was written by a newer program.
    #[error("{} has store layout {found}, this program knows layouts up to {known}: use a newer imagecache", path.display())]
    NewerLayout {
        /// The marker file.
        path: PathBuf,
        /// Layout that it names.
        found: u32,
        /// Newest layout known here.
        known: u32,
    },

    /// The directory holds other things.
    #[error("{} is neither empty nor an imagecache store", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },

    /// A write to a store that was opened for reading.
    #[error("{} is open for reading only", path.display())]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },

    /// Something that should be in the store is not.
    #[error("{what} is not in {}", store.display())]
    Missing {
        /// What was looked for.
        what: String,
        /// Where.
        store: PathBuf,
    },

    /// A filesystem image could not be made or read.
    #[error("{what}")]
    Image {
        /// Which image, and what was done with it.
        what: String,
        /// Why it failed.
        #[source]
        source: imagecache_erofs::Error,
    },

    /// The system cannot do this.
    #[error("{0}")]
    Unsupported(String),

    /// A service that keeps snapshots refused or did not answer.
    #[error("{message}")]
    Service {
        /// Whose problem it is.
        kind: ErrorKind,
        /// What was tried, what was answered, and what to do.
        message: String,
    },

    /// Waiting was given up because the caller wanted it.
    #[error("cancelled while waiting for {0}")]
    Cancelled(String),
}

impl Error {
    /// An I/O failure; a full disk becomes [`Error::NoSpace`] with the room that there is.
    pub fn io(operation: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::io_needing(operation, path, source, None)
    }

    /// Like [`Error::io`], knowing how many bytes were wanted.
    pub fn io_needing(operation: &'static str, path: impl AsRef<Path>, source: io::Error, needed: Option<u64>) -> Self {
        let path = path.as_ref().to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let free = free_bytes(&path);
                Self::NoSpace {
                    operation,
                    path,
                    free,
                    needed,
                    source,
                }
            }
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// Stored bytes that are not what was stored.
    pub fn damaged(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.as_ref().to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn image(what: impl Into<String>, source: imagecache_erofs::Error) -> Self {
        Self::Image {
            what: what.into(),
            source,
        }
    }

    /// Whose problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSpace { .. } => ErrorKind::QuotaExceeded,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::ResourceBusy => ErrorKind::Conflict,
                _ => ErrorKind::Unavailable,
            },
            Self::Damaged { .. } | Self::Image { .. } => ErrorKind::Internal,
            Self::NewerLayout { .. } | Self::NotAStore { .. } | Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::ReadOnly { .. } => ErrorKind::PermissionDenied,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Cancelled(_) => ErrorKind::Conflict,
            Self::Service { kind, .. } => *kind,
        }
    }
}

/// Attaches what was being done, and to what, to an `io::Result`.
pub(crate) trait IoContext<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::io(operation, path, source))
    }
}

impl<T> IoContext<T> for rustix::io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::io(operation, path, source.into()))
    }
}

/// Bytes that an unprivileged user could still write on the filesystem of `path` or its nearest existing parent.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = path.ancestors().find_map(|place| rustix::fs::statvfs(place).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn room(free: Option<u64>, needed: Option<u64>) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let free = free.map_or_else(
        || "the disk is full".to_owned(),
        |free| format!("{} are free", mib(free)),
    );
    match needed {
        Some(needed) => format!("{free}, at least {} are needed", mib(needed)),
        None => free,
    }
}
