//! Why a call failed, in containerd's terms.

use imagecache_core::chain;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What containerd is told; it decides by the kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A snapshot of this name exists; for a layer that a cache holds: it is ready to use.
    #[error("snapshot {0} already exists")]
    AlreadyExists(String),

    /// There is no snapshot of this name.
    #[error("snapshot {0} does not exist")]
    NotFound(String),

    /// The snapshot is not in a state for this.
    #[error("{0}")]
    FailedPrecondition(String),

    /// The call makes no sense.
    #[error("{0}")]
    InvalidArgument(String),

    /// A layer that a snapshot is made of cannot be used now.
    #[error("{0}")]
    Unavailable(String),

    /// A store or a mount did not work.
    #[error(transparent)]
    Blocks(#[from] imagecache_blocks::Error),

    /// The book of snapshots could not be read or written.
    #[error("cannot {operation} the book of snapshots {}", path.display())]
    Book {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why it failed.
        #[source]
        source: Box<redb::Error>,
    },

    /// Something else on this machine.
    #[error("{0}")]
    Host(String),
}

impl Error {
    /// An I/O failure on a path.
    pub(crate) fn io(operation: &'static str, path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::Blocks(imagecache_blocks::Error::io(operation, path, source))
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        use tonic::Code;
        let code = match &error {
            Error::AlreadyExists(_) => Code::AlreadyExists,
            Error::NotFound(_) => Code::NotFound,
            Error::FailedPrecondition(_) => Code::FailedPrecondition,
            Error::InvalidArgument(_) => Code::InvalidArgument,
            Error::Unavailable(_) => Code::Unavailable,
            Error::Blocks(imagecache_blocks::Error::NoSpace { .. }) => Code::ResourceExhausted,
            Error::Blocks(_) | Error::Book { .. } | Error::Host(_) => Code::Internal,
        };
        Self::new(code, chain(&error))
    }
}
