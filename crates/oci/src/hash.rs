//! Incremental hashing for whichever algorithm a digest names.

use imagecache_core::{Digest, DigestAlgorithm, Error, ErrorKind};
use sha2::Digest as _;

use crate::error::{fail, wrong_digest};

/// A running hash. Uses the CPU's SHA instructions where there are some.
pub(crate) enum Hasher {
    Sha256(Box<sha2::Sha256>),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// A hash of the same algorithm as `digest`.
    pub(crate) fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Self::Sha256(Box::default()),
            DigestAlgorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of everything added.
    pub(crate) fn finish(self) -> Result<Digest, Error> {
        let made = match self {
            Self::Sha256(hash) => Ok(Digest::from_sha256(hash.finalize().into())),
            Self::Sha512(hash) => Digest::new(DigestAlgorithm::Sha512, hex::encode(hash.finalize())),
        };
        made.map_err(|error| fail(ErrorKind::Internal, "hash", error))
    }
}

/// Checks that `bytes` hash to `expected`; `what` names them in the error.
pub(crate) fn verify(bytes: &[u8], expected: &Digest, operation: &'static str, what: &str) -> Result<(), Error> {
    let mut hasher = Hasher::like(expected);
    hasher.update(bytes);
    let found = hasher.finish()?;
    if found == *expected {
        Ok(())
    } else {
        Err(wrong_digest(operation, what, expected, &found))
    }
}
