//! The workload identity that a cluster gives to a pod, as its environment tells it.

use std::path::PathBuf;

use super::Environment;
use crate::CredentialError;

/// The names of the variables that a cloud's clusters set.
#[derive(Clone, Copy, Debug)]
pub struct OidcNames {
    /// Of the identity provider that the cloud knows the cluster as.
    pub provider: &'static str,
    /// Of the file that holds the token.
    pub token_file: &'static str,
    /// Of the role to assume with it.
    pub role: &'static str,
}

/// What they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcIdentity {
    /// The identity provider.
    pub provider: String,
    /// The file; whoever writes it renews the token.
    pub token_file: PathBuf,
    /// The role.
    pub role: String,
}

impl OidcNames {
    /// The identity in `environment`, for the source `name`; `None` where there is none. A role alone may be meant for something
    /// else.
    ///
    /// # Errors
    ///
    /// When only a part of it is there.
    pub fn read(&self, name: &str, environment: &Environment) -> Result<Option<OidcIdentity>, CredentialError> {
        let is_set = |variable: &&str| environment.text(variable).is_some();
        if ![self.provider, self.token_file].iter().any(is_set) {
            return Ok(None);
        }
        let need = |variable: &str| {
            let missing = || format!("`{variable}` is not set, and the other variables of it are");
            let value = environment.text(variable).map(str::to_owned);
            value.ok_or_else(|| CredentialError::invalid(name, missing()))
        };
        Ok(Some(OidcIdentity {
            provider: need(self.provider)?,
            token_file: need(self.token_file)?.into(),
            role: need(self.role)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_whole_or_not_there() {
        let names = OidcNames {
            provider: "PROVIDER",
            token_file: "TOKEN_FILE",
            role: "ROLE",
        };
        for (set, expected) in [
            (vec![], Ok(false)),
            (vec!["ROLE"], Ok(false)),
            (vec!["PROVIDER", "TOKEN_FILE", "ROLE"], Ok(true)),
            (vec!["PROVIDER", "TOKEN_FILE"], Err("`ROLE` is not set")),
            (vec!["TOKEN_FILE", "ROLE"], Err("`PROVIDER` is not set")),
            (vec!["PROVIDER", "ROLE"], Err("`TOKEN_FILE` is not set")),
        ] {
            let environment = set.iter().map(|name| (*name, "x")).collect();
            match (names.read("pod", &environment), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.is_some(), expected, "{set:?}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{set:?}: {error}"),
                (found, _) => panic!("{set:?}: {found:?}"),
            }
        }
    }
}
