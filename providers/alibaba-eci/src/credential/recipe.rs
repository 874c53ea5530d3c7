//! How a profile says that its credential is obtained, and doing so.

use std::sync::Arc;

use imagecache_cloud_http::source::Expectation;
use imagecache_cloud_http::{Credential, CredentialError, Credentials};
use imagecache_core::Secret;

use super::metadata::Metadata;
use super::sts::{OidcRole, Role, Sts};

/// How a credential is obtained.
#[derive(Clone, Debug)]
pub(super) enum Recipe {
    /// It is written there.
    Keys(Credential),
    /// By assuming a role with another credential.
    Role { base: Box<Recipe>, role: Role },
    /// From the metadata service.
    Instance { role: Option<String> },
    /// In exchange for an OIDC token.
    Oidc(OidcRole),
}

/// The services that hand out credentials.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) sts: Sts,
    /// `None` when the user has disabled it (`ALIBABA_CLOUD_ECS_METADATA_DISABLED`).
    pub(super) metadata: Option<Metadata>,
}

impl Services {
    /// Obtains a credential for the source `name`.
    pub(super) async fn follow(&self, name: &str, recipe: &Recipe) -> Result<Credential, CredentialError> {
        match recipe {
            Recipe::Keys(credential) => Ok(credential.clone()),
            Recipe::Role { base, role } => {
                let base = Box::pin(self.follow(name, base)).await?;
                let base = Credentials::fixed(name, base, Arc::clone(&self.sts.clock));
                self.sts.assume(name, role, Arc::new(base)).await
            }
            Recipe::Instance { role } => {
                let found = self.instance(name, role.as_deref(), Expectation::Certain).await?;
                found.ok_or_else(|| CredentialError::invalid(name, "there is no ECS instance role"))
            }
            Recipe::Oidc(oidc) => self.sts.exchange(name, oidc).await,
        }
    }

    /// The credential of the instance's role.
    pub(super) async fn instance(
        &self,
        name: &str,
        role: Option<&str>,
        expectation: Expectation,
    ) -> Result<Option<Credential>, CredentialError> {
        match (&self.metadata, expectation) {
            (Some(metadata), _) => metadata.credential(name, role, expectation).await,
            (None, Expectation::Unknown | Expectation::Answers) => Ok(None),
            (None, Expectation::Certain) => {
                let message = "the metadata service is disabled by `ALIBABA_CLOUD_ECS_METADATA_DISABLED`";
                Err(CredentialError::invalid(name, message))
            }
        }
    }
}

/// The keys of a profile; the text names what is missing.
pub(super) fn keys(id: Option<String>, secret: Option<String>, token: Option<String>) -> Result<Recipe, String> {
    let filled = |value: Option<String>| {
        value
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    Ok(Recipe::Keys(Credential {
        id: filled(id).ok_or_else(|| missing("access_key_id"))?,
        secret: Secret::new(filled(secret).ok_or_else(|| missing("access_key_secret"))?),
        token: filled(token).map(Secret::new),
        expires_at: None,
    }))
}

/// A field that a profile needs and has not.
pub(super) fn missing(field: &str) -> String {
    format!("has no `{field}`")
}

/// Longest word that is repeated from a file.
const MAX_WORD_CHARS: usize = 24;

/// The mode or type of a profile, repeated only if it is a word: in a file with a line break missing, it is anything.
pub(super) fn named(what: &str, word: &str) -> String {
    let plain = word.len() <= MAX_WORD_CHARS && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    match (word, plain) {
        ("", _) => format!("no {what}"),
        (word, true) => format!("the {what} `{word}`"),
        (_, false) => format!("a {what} that is no word"),
    }
}

/// The services, shared by the sources.
pub(super) type SharedServices = Arc<Services>;
