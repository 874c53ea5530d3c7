//! A credential that is simply there.

use async_trait::async_trait;
use imagecache_core::{Clock, Secret};

use crate::{Credential, CredentialError, CredentialSource, Credentials};

#[derive(Debug)]
struct Fixed(String, Credential);

#[async_trait]
impl CredentialSource for Fixed {
    fn name(&self) -> String {
        self.0.clone()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.1.clone()))
    }
}

impl Credentials {
    /// A chain of this one credential, which the source `name` has.
    pub fn fixed(name: &str, credential: Credential, clock: Clock) -> Self {
        Self::new(vec![Box::new(Fixed(name.to_owned(), credential))], clock)
    }

    /// What the client of an unsigned call has instead: the token that is exchanged. No message repeats it, as no other secret.
    pub fn bearer(name: &str, token: Secret<String>, clock: Clock) -> Self {
        let credential = Credential {
            id: String::new(),
            secret: token,
            token: None,
            expires_at: None,
        };
        Self::fixed(name, credential, clock)
    }
}
