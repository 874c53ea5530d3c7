//! Names that mean the same registry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ImageRef;

/// Registries that have a second name, such as one for use inside a private network: alias to the name that stands for both.
///
/// Written as a table, for example `"registry-vpc.cn-hangzhou.aliyuncs.com" = "registry.cn-hangzhou.aliyuncs.com"`. Only
/// matching uses it: nothing is pulled from another registry than its image names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct RegistryAliases(BTreeMap<String, String>);

/// Why a table of aliases makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// Not `host` or `host:port`.
    #[error("`{0}` is not a registry, write `host` or `host:port` as image references do")]
    NotARegistry(String),
    /// The name that should stand for both is an alias too.
    #[error("registry alias `{alias}` leads to `{registry}`, which is an alias itself; give the last name directly")]
    Chain {
        /// The alias.
        alias: String,
        /// Where it leads.
        registry: String,
    },
}

impl RegistryAliases {
    /// Takes pairs of an alias and the registry that it means.
    ///
    /// # Errors
    ///
    /// When a name is no registry, or an alias leads to another alias.
    pub fn new<A: AsRef<str>, R: AsRef<str>>(pairs: impl IntoIterator<Item = (A, R)>) -> Result<Self, AliasError> {
        let pairs = pairs
            .into_iter()
            .map(|(alias, registry)| Ok((normalised(alias.as_ref())?, normalised(registry.as_ref())?)))
            .collect::<Result<BTreeMap<_, _>, AliasError>>()?;
        match pairs.iter().find(|(_, registry)| pairs.contains_key(*registry)) {
            Some((alias, registry)) => Err(AliasError::Chain {
                alias: alias.clone(),
                registry: registry.clone(),
            }),
            None => Ok(Self(pairs)),
        }
    }

    /// The name that stands for `registry`: itself, when it is no alias.
    pub fn canonical<'a>(&'a self, registry: &'a str) -> &'a str {
        self.0.get(registry).map_or(registry, String::as_str)
    }
}

/// The registry as an image reference has it: Docker Hub has several names.
fn normalised(registry: &str) -> Result<String, AliasError> {
    let image = ImageRef::parse(&format!("{registry}/x"));
    match image {
        // Anything that is no host was taken for a part of the path.
        Ok(image) if !registry.contains('/') && matches!(image.repository(), "x" | "library/x") => {
            Ok(image.registry().to_owned())
        }
        _ => Err(AliasError::NotARegistry(registry.to_owned())),
    }
}

impl TryFrom<BTreeMap<String, String>> for RegistryAliases {
    type Error = AliasError;

    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, AliasError> {
        Self::new(pairs)
    }
}

impl From<RegistryAliases> for BTreeMap<String, String> {
    fn from(aliases: RegistryAliases) -> Self {
        aliases.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_have_aliases_and_no_chains() {
        for (pairs, expected) in [
            (
                &[("mirror.example.com:5000", "docker.io")][..],
                Ok(("mirror.example.com:5000", "docker.io")),
            ),
            (
                &[("mirror.example.com", "index.docker.io")],
                Ok(("mirror.example.com", "docker.io")),
            ),
            (&[("localhost", "[::1]:5000")], Ok(("localhost", "[::1]:5000"))),
            (&[("a.com/team", "b.com")], Err("`a.com/team` is not a registry")),
            (&[("a.com", "team")], Err("`team` is not a registry")),
            (&[("", "a.com")], Err("`` is not a registry")),
            (&[("https://a.com", "b.com")], Err("is not a registry")),
            (
                &[("a.com", "b.com"), ("b.com", "c.com")],
                Err("`a.com` leads to `b.com`"),
            ),
            (&[("a.com", "a.com")], Err("`a.com` leads to `a.com`")),
        ] {
            match (RegistryAliases::new(pairs.iter().copied()), expected) {
                (Ok(aliases), Ok((alias, registry))) => assert_eq!(aliases.canonical(alias), registry, "{pairs:?}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{pairs:?}: {error}"),
                (found, expected) => panic!("{pairs:?}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_alias_stands_for_itself() {
        assert_eq!(RegistryAliases::default().canonical("a.com"), "a.com");
    }
}
