//! A key pair that the configuration points to: it names files or environment variables, never the secret itself.

use async_trait::async_trait;
use imagecache_core::Secret;

use super::{Environment, SecretFile, VariableName, required_secret};
use crate::{Credential, CredentialError, CredentialSource};

/// Where one part of a key pair is: a cloud's configuration has the keys `<key>_env` and `<key>_file` for it.
#[derive(Clone, Debug)]
pub struct SecretPlace {
    /// The part, in the cloud's own word.
    pub key: &'static str,
    /// The environment variable that holds it.
    pub variable: Option<VariableName>,
    /// The file that holds it, read anew each time.
    pub file: Option<SecretFile>,
}

/// Where the parts of a key pair are.
#[derive(Clone, Debug)]
pub struct KeyPlaces {
    /// The id.
    pub id: SecretPlace,
    /// The secret.
    pub secret: SecretPlace,
    /// The session token of a temporary key pair.
    pub token: SecretPlace,
}

impl KeyPlaces {
    /// Whether anything is named.
    pub fn any(&self) -> bool {
        let named = |place: &&SecretPlace| place.variable.is_some() || place.file.is_some();
        self.parts().iter().any(named)
    }

    /// A part that is named twice, so that nobody knows which one is meant.
    pub fn ambiguous(&self) -> Option<&'static str> {
        let parts = self.parts();
        let twice = parts
            .iter()
            .find(|place| place.variable.is_some() && place.file.is_some());
        twice.map(|place| place.key)
    }

    fn parts(&self) -> [&SecretPlace; 3] {
        [&self.id, &self.secret, &self.token]
    }
}

/// The key pair that the configuration points to.
#[derive(Debug)]
pub struct ReferenceSource {
    places: KeyPlaces,
    environment: Environment,
}

impl ReferenceSource {
    /// The key pair at `places`; `environment` is where variables are looked up.
    pub fn new(places: KeyPlaces, environment: Environment) -> Self {
        Self { places, environment }
    }

    async fn value(&self, place: &SecretPlace) -> Result<Option<Secret<String>>, CredentialError> {
        match (&place.variable, &place.file) {
            (Some(variable), _) => {
                let (variable, key) = (variable.as_str(), place.key);
                let value = self.environment.text(variable).map(str::trim);
                match value.filter(|value| !value.is_empty()) {
                    Some(value) => Ok(Some(Secret::new(value.to_owned()))),
                    None => Err(CredentialError::invalid(
                        &self.name(),
                        format!("environment variable `{variable}`, named by `{key}_env`, is not set"),
                    )),
                }
            }
            (None, Some(file)) => required_secret(&self.name(), file.as_path()).await.map(Some),
            (None, None) => Ok(None),
        }
    }

    async fn needed(&self, place: &SecretPlace) -> Result<Secret<String>, CredentialError> {
        let key = place.key;
        let missing = || CredentialError::invalid(&self.name(), format!("`{key}_env` or `{key}_file` is needed too"));
        self.value(place).await?.ok_or_else(missing)
    }
}

#[async_trait]
impl CredentialSource for ReferenceSource {
    fn name(&self) -> String {
        "the configuration's references".to_owned()
    }

    async fn load(&self) -> Result<Option<Credential>, CredentialError> {
        if !self.places.any() {
            return Ok(None);
        }
        Ok(Some(Credential {
            id: self.needed(&self.places.id).await?.expose().clone(),
            secret: self.needed(&self.places.secret).await?,
            token: self.value(&self.places.token).await?,
            expires_at: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place(key: &'static str, variable: Option<&str>, file: Option<&Path>) -> SecretPlace {
        let read = |text: &str| serde_json::from_value(text.into()).unwrap();
        SecretPlace {
            key,
            variable: variable.map(|name| serde_json::from_value(name.into()).unwrap()),
            file: file.map(|path| read(path.to_str().unwrap())),
        }
    }

    #[tokio::test]
    async fn files_are_read_anew_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let places = KeyPlaces {
            id: place("key_id", Some("KEY_ID"), None),
            secret: place("key", None, Some(&path)),
            token: place("token", None, None),
        };
        assert!(places.any());
        let source = ReferenceSource::new(places, [("KEY_ID", " me\n")].into_iter().collect());
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
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let nothing = |key| place(key, None, None);
        let variable = |key| place(key, Some("VARIABLE"), None);
        let set = [("VARIABLE", "x")];
        for (name, id, secret, environment, expected) in [
            ("nothing", nothing("id"), nothing("secret"), vec![], None),
            (
                "no secret",
                variable("id"),
                nothing("secret"),
                set.to_vec(),
                Some("`secret_env` or `secret_file` is needed too"),
            ),
            (
                "unset",
                variable("id"),
                variable("secret"),
                vec![],
                Some("`VARIABLE`, named by `id_env`, is not set"),
            ),
        ] {
            let token = nothing("token");
            let source = ReferenceSource::new(KeyPlaces { id, secret, token }, environment.into_iter().collect());
            match (source.load().await, expected) {
                (Ok(None), None) => {}
                (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{name}: {error}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        let both = KeyPlaces {
            id: nothing("id"),
            secret: place("secret", Some("VARIABLE"), Some(Path::new("/secret"))),
            token: nothing("token"),
        };
        assert_eq!(both.ambiguous(), Some("secret"));
    }
}
