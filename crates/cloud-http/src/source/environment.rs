//! The process's environment as a value, taken once at start, and the key pair in it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use imagecache_core::Secret;

use crate::{Credential, CredentialError, CredentialSource};

/// Environment variables by name. Cheap to clone; `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Environment(Arc<BTreeMap<String, Secret<String>>>);

impl Environment {
    /// The process's environment as it is now; variables that are no text are left out.
    pub fn snapshot() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable that is no secret: a path, a role. An empty one counts as not set, as in the vendors' SDKs.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.expose().as_str();
        (!value.is_empty()).then_some(value)
    }

    /// A variable that is a secret; an empty one counts as not set.
    pub fn secret(&self, name: &str) -> Option<Secret<String>> {
        self.text(name).map(|value| Secret::new(value.to_owned()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let wrapped = variables
            .into_iter()
            .map(|(name, value)| (name.into(), Secret::new(value.into())));
        Self(Arc::new(wrapped.collect()))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The names a cloud's tools give a key pair.
#[derive(Clone, Copy, Debug)]
pub struct EnvironmentNames {
    /// Of the id.
    pub id: &'static str,
    /// Of the secret.
    pub secret: &'static str,
    /// Of the session token; the first one that is set is taken.
    pub tokens: &'static [&'static str],
}

/// A key pair in environment variables.
#[derive(Debug)]
pub struct EnvironmentSource {
    names: EnvironmentNames,
    environment: Environment,
}

impl EnvironmentSource {
    /// The variables `names` of `environment`.
    pub fn new(names: EnvironmentNames, environment: Environment) -> Self {
        Self { names, environment }
    }
}

#[async_trait]
impl CredentialSource for EnvironmentSource {
    fn name(&self) -> String {
        format!("environment variables {} and {}", self.names.id, self.names.secret)
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let names = self.names;
        let missing = |is: &str, is_not: &str| CredentialError::Invalid {
            name: self.name(),
            message: format!("{is} is set but {is_not} is not"),
            source: None,
        };
        match (self.environment.text(names.id), self.environment.secret(names.secret)) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing(names.id, names.secret)),
            (None, Some(_)) => Err(missing(names.secret, names.id)),
            (Some(id), Some(secret)) => Ok(Some(Credential {
                id: id.to_owned(),
                secret,
                token: names.tokens.iter().find_map(|token| self.environment.secret(token)),
                expires_at: None,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: EnvironmentNames = EnvironmentNames {
        id: "KEY_ID",
        secret: "KEY_SECRET",
        tokens: &["TOKEN", "OTHER_TOKEN"],
    };

    #[tokio::test]
    async fn takes_a_whole_pair_only() {
        for (name, variables, expected) in [
            ("nothing", vec![], Ok(None)),
            ("empty", vec![("KEY_ID", ""), ("KEY_SECRET", "")], Ok(None)),
            ("token alone", vec![("TOKEN", "t")], Ok(None)),
            (
                "pair",
                vec![("KEY_ID", "i"), ("KEY_SECRET", "hunter2")],
                Ok(Some(false)),
            ),
            (
                "with token",
                vec![("KEY_ID", "i"), ("KEY_SECRET", "hunter2"), ("TOKEN", "t")],
                Ok(Some(true)),
            ),
            (
                "with the other token",
                vec![("KEY_ID", "i"), ("KEY_SECRET", "hunter2"), ("OTHER_TOKEN", "t")],
                Ok(Some(true)),
            ),
            (
                "no secret",
                vec![("KEY_ID", "i")],
                Err("KEY_ID is set but KEY_SECRET is not"),
            ),
            (
                "no id",
                vec![("KEY_SECRET", "hunter2")],
                Err("KEY_SECRET is set but KEY_ID is not"),
            ),
        ] {
            let source = EnvironmentSource::new(NAMES, variables.into_iter().collect());
            assert!(!format!("{source:?}").contains("hunter2"), "{name}");
            match (source.load().await, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.map(|c| c.token.is_some()), expected, "{name}"),
                (Err(error), Err(part)) => {
                    let text = error.to_string();
                    assert!(text.contains(part) && !text.contains("hunter2"), "{name}: {text}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
