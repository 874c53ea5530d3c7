//! Why a build ends early, and whether trying again can help.

use imagecache_core::{Error, ErrorKind, Failure, Phase, chain};

use crate::NAME;

/// Longest message that goes into a status.
const MAX_MESSAGE_CHARS: usize = 1000;

/// Why a build ends without a cache.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The cache was deleted, or this process stops: nothing is to be written any more.
    Cancelled,
    /// It can never work as asked.
    Failed(Failure),
    /// It can go on once the reason is gone.
    Stalled(Failure),
}

impl Stop {
    /// It can never work as asked.
    pub(crate) fn failed(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            kind,
            message: clip(message.into()),
        })
    }

    /// It can go on once the reason is gone.
    pub(crate) fn stalled(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Stalled(Failure {
            kind,
            message: clip(message.into()),
        })
    }

    /// The phase that says so; `None` when nothing is to be said.
    pub(crate) fn phase(self) -> Option<Phase> {
        match self {
            Self::Cancelled => None,
            Self::Failed(failure) => Some(Phase::Failed(failure)),
            Self::Stalled(failure) => Some(Phase::Stalled(failure)),
        }
    }
}

/// What a registry or an image source did. Its message is complete: sources may hold URLs and are left to the log.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error.kind() {
            kind if kind.is_transient() => Self::stalled(kind, error.message()),
            kind => Self::failed(kind, error.message()),
        }
    }
}

/// What the store did: the disk's problem, never the spec's, unless the content itself has no place on a disk.
impl From<imagecache_blocks::Error> for Stop {
    fn from(error: imagecache_blocks::Error) -> Self {
        use imagecache_blocks::Error as Blocks;
        let message = chain(&error);
        match &error {
            Blocks::Cancelled(_) => Self::Cancelled,
            Blocks::Image { .. } | Blocks::Unsupported(_) => Self::failed(error.kind(), message),
            // The store's own trouble is not a missing image.
            Blocks::Missing { .. } => Self::stalled(ErrorKind::Internal, message),
            Blocks::Io { .. } if error.kind() == ErrorKind::NotFound => Self::stalled(ErrorKind::Unavailable, message),
            _ => Self::stalled(error.kind(), message),
        }
    }
}

/// An error of the store as the caller of the provider sees it.
pub(crate) fn store_error(operation: &'static str, error: imagecache_blocks::Error) -> Error {
    Error::new(error.kind(), NAME, operation, &error).with_source(error)
}

fn clip(message: String) -> String {
    if message.chars().count() <= MAX_MESSAGE_CHARS {
        return message;
    }
    message
        .chars()
        .take(MAX_MESSAGE_CHARS)
        .chain(std::iter::once('…'))
        .collect()
}
