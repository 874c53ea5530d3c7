//! How everything that can go wrong here becomes the project's one error type.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use imagecache_core::{Digest, Error, ErrorKind};

/// Name under which errors of this crate appear.
const PROVIDER: &str = "oci";

/// Content that is not what its digest promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {found}")]
pub struct WrongDigest {
    /// Digest that the manifest, config or reference names.
    pub expected: Digest,
    /// Digest of the bytes that arrived.
    pub found: Digest,
}

/// Whether `error` says that a registry served bytes that do not match their digest.
///
/// One more download may help, for example from another mirror; a second one will not.
pub fn is_wrong_digest(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<WrongDigest>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Gets back the error that a [`LayerStream`](crate::LayerStream) reported through `io::Error`, also when other readers
/// wrapped it. `None` means that the error came from somewhere else, for example the disk.
pub fn error_from_io(error: &io::Error) -> Option<Error> {
    find_cause::<Error>(error).map(copy_of)
}

/// Looks for an error of type `T` in `error` and its causes, also inside `io::Error`, whose `source` skips what it holds.
pub(crate) fn find_cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        let held = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held
            .map(|inner| inner as &(dyn StdError + 'static))
            .or_else(|| current.source());
    }
    None
}

/// A copy with the same kind, message and wrong-digest mark; other causes are kept as text.
fn copy_of(error: &Error) -> Error {
    let copy = Error::new(error.kind(), PROVIDER, "layer", error.message()).with_retry_after(error.retry_after());
    match error.source() {
        Some(cause) => match cause.downcast_ref::<WrongDigest>() {
            Some(wrong) => copy.with_source(wrong.clone()),
            None => copy.with_source(cause.to_string()),
        },
        None => copy,
    }
}

/// A new error of this crate.
pub(crate) fn fail(kind: ErrorKind, operation: &'static str, message: impl std::fmt::Display) -> Error {
    Error::new(kind, PROVIDER, operation, message)
}

/// An error about content that does not match its digest; `what` names image and part.
pub(crate) fn wrong_digest(operation: &'static str, what: &str, expected: &Digest, found: &Digest) -> Error {
    fail(
        ErrorKind::Internal,
        operation,
        format!("{what} has the wrong digest: expected {expected}, got {found}"),
    )
    .with_source(WrongDigest {
        expected: expected.clone(),
        found: found.clone(),
    })
}

/// A file of a layout or archive that cannot be read: not there, or a disk that may recover.
pub(crate) fn unreadable(operation: &'static str, path: &Path, error: io::Error, what: &str) -> Error {
    let kind = if error.kind() == io::ErrorKind::NotFound {
        ErrorKind::NotFound
    } else {
        ErrorKind::Unavailable
    };
    fail(
        kind,
        operation,
        format!("{what} cannot be read from `{}`", path.display()),
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_out_of_wrapped_io_errors() {
        let digest = Digest::sha256_of(b"a");
        let ours = wrong_digest("layer", "layer 1 of `x`", &digest, &Digest::sha256_of(b"b"));
        let wrapped = io::Error::other(io::Error::other(ours));
        let back = error_from_io(&wrapped).unwrap();
        assert_eq!(back.kind(), ErrorKind::Internal);
        assert!(is_wrong_digest(&back));
        assert!(error_from_io(&io::Error::from_raw_os_error(28)).is_none());
    }
}
