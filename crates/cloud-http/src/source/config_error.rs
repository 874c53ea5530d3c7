//! What can be wrong with a configuration of credentials before anything is asked.

use imagecache_core::{Error, chain};

use crate::{EndpointError, HttpClientError, checks};

/// A credential configuration that cannot be used as it is written. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialConfigError {
    /// Two keys that exclude each other.
    #[error("`{0}_env` and `{0}_file` are both set; leave one out")]
    Both(&'static str),
    /// A key that the chosen source needs.
    #[error("source `{0}` needs {1}")]
    Needs(&'static str, &'static str),
    /// An address that is none, or that would carry secrets in the clear.
    #[error("`{key}`: {wrong}")]
    Address {
        /// Which key it is.
        key: &'static str,
        /// What is wrong; the address itself only where it cannot hold a secret.
        wrong: String,
    },
    /// No HTTP client can be made.
    #[error(transparent)]
    Http(#[from] HttpClientError),
}

impl CredentialConfigError {
    /// For an endpoint, which holds no secret.
    pub fn endpoint(key: &'static str, error: &EndpointError) -> Self {
        let wrong = error.to_string();
        Self::Address { key, wrong }
    }

    /// The error for the configuration of `provider`.
    pub fn refused(self, provider: &'static str) -> Error {
        checks::refused(provider, "credentials", &chain(&self)).with_source(self)
    }
}
