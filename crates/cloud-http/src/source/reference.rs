//! A key pair that the configuration points to: it names files or environment variables, never the secret itself.

use std::path::PathBuf;

use async_trait::async_trait;
use imagecache_core::Secret;
use serde::{Deserialize, Serialize};

use super::{Environment, read_secret_file};
use crate::{Credential, CredentialError, CredentialSource};

/// Where a secret is: `{ file = "/path" }` or `{ env = "NAME" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretReference {
    /// A file that holds it alone, with or without a final newline.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl SecretReference {
    /// The secret.
    ///
    /// # Errors
    ///
    /// When it is not there: what is named must exist. The text says where it was looked for.
    pub async fn resolve(&self, environment: &Environment) -> Result<Secret<String>, String> {
        match self {
            Self::Env(name) => {
                let value = environment.secret(name);
                value.ok_or_else(|| format!("environment variable {name} is not set"))
            }
            Self::File(path) => {
                let text = read_secret_file(path).await.map_err(|error| error.to_string())?;
                match text.as_ref().map(|text| text.expose().trim()) {
                    None => Err(format!("file `{}` does not exist", path.display())),
                    Some("") => Err(format!("file `{}` is empty", path.display())),
                    Some(secret) => Ok(Secret::new(secret.to_owned())),
                }
            }
        }
    }
}

/// Where the parts of a key pair are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyReference {
    /// The id.
    pub id: SecretReference,
    /// The secret.
    pub secret: SecretReference,
    /// The session token of a temporary key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretReference>,
}

/// The key pair that the configuration points to.
#[derive(Debug)]
pub struct ReferenceSource {
    reference: KeyReference,
    environment: Environment,
}

impl ReferenceSource {
    /// The key pair at `reference`; `environment` is where variables are looked up.
    pub fn new(reference: KeyReference, environment: Environment) -> Self {
        Self { reference, environment }
    }

    async fn resolve(&self, reference: &SecretReference) -> Result<Secret<String>, CredentialError> {
        let resolved = reference.resolve(&self.environment).await;
        resolved.map_err(|message| CredentialError::Invalid {
            name: self.name(),
            message,
            source: None,
        })
    }
}

#[async_trait]
impl CredentialSource for ReferenceSource {
    fn name(&self) -> String {
        "configuration".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        let token = match &self.reference.token {
            Some(reference) => Some(self.resolve(reference).await?),
            None => None,
        };
        Ok(Some(Credential {
            id: self.resolve(&self.reference.id).await?.expose().clone(),
            secret: self.resolve(&self.reference.secret).await?,
            token,
            expires_at: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_anew_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let json = serde_json::json!({"id": {"env": "KEY_ID"}, "secret": {"file": path}});
        let reference: KeyReference = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&reference).unwrap(), json);
        let source = ReferenceSource::new(reference, [("KEY_ID", "me")].into_iter().collect());

        for (content, expected) in [
            (None, Err("does not exist")),
            (Some(" \n"), Err("is empty")),
            (Some("hunter2\n"), Ok("hunter2")),
            (Some("hunter3"), Ok("hunter3")),
        ] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            match (source.load().await, expected) {
                (Ok(Some(found)), Ok(expected)) => {
                    assert_eq!((found.id.as_str(), found.secret.expose().as_str()), ("me", expected));
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{content:?}: {found:?}"),
            }
        }

        let reference = SecretReference::Env("ABSENT".to_owned());
        let error = reference.resolve(&Environment::default()).await.unwrap_err();
        assert_eq!(error, "environment variable ABSENT is not set");
    }

    #[test]
    fn the_secret_itself_is_no_reference() {
        for json in [
            r#"{"id":"AKID","secret":"hunter2"}"#,
            r#"{"id":{"env":"A"},"secret":{"env":"B"},"key":1}"#,
        ] {
            assert!(serde_json::from_str::<KeyReference>(json).is_err(), "{json}");
        }
    }
}
