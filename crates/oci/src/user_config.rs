//! The user's own registry logins, where Docker and podman keep them.

use std::path::PathBuf;

use imagecache_core::{Error, ErrorKind};

use crate::error::fail;
use crate::keyring::Keyring;

/// Largest configuration file that we read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

impl Keyring {
    /// Reads the logins of the user that runs this program: `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, then `$XDG_RUNTIME_DIR/containers/auth.json` and `~/.config/containers/auth.json`, with
    /// the credential helpers that they name. Files that do not exist are skipped.
    ///
    /// Call it at start-up: it reads the environment. Errors: `InvalidSpec` for a file that is malformed.
    pub fn from_user_config() -> Result<Self, Error> {
        let mut keyring = Self::default();
        for path in candidates(&|name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        }) {
            let what = format!("`{}`", path.display());
            let unreadable = |error: std::io::Error| {
                fail(ErrorKind::InvalidSpec, "credentials", format!("{what} cannot be read")).with_source(error)
            };
            let bytes = match std::fs::metadata(&path) {
                Ok(found) if found.len() <= MAX_BYTES => std::fs::read(&path).map_err(unreadable)?,
                Ok(_) => {
                    return Err(fail(
                        ErrorKind::InvalidSpec,
                        "credentials",
                        format!("{what} is too large"),
                    ));
                }
                // Missing, or in a directory that is not ours to read: then it is not our login.
                Err(_) => continue,
            };
            keyring = keyring.or(Self::from_docker_config_json(&bytes, &what)?);
        }
        Ok(keyring)
    }
}

fn candidates(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let home = variable("HOME");
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let docker = variable("DOCKER_CONFIG")
        .map(|dir| dir.join("config.json"))
        .or_else(|| below_home(".docker/config.json"));
    let runtime = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    let config = variable("XDG_CONFIG_HOME")
        .or_else(|| below_home(".config"))
        .map(|dir| dir.join("containers/auth.json"));
    [variable("REGISTRY_AUTH_FILE"), docker, runtime, config]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_where_docker_and_podman_do() {
        let found = candidates(&|name| (name == "HOME").then(|| PathBuf::from("/home/u")));
        assert_eq!(
            found,
            [
                PathBuf::from("/home/u/.docker/config.json"),
                "/home/u/.config/containers/auth.json".into()
            ]
        );
        let found = candidates(&|name| (name == "DOCKER_CONFIG").then(|| PathBuf::from("/d")));
        assert_eq!(found, [PathBuf::from("/d/config.json")]);
    }
}
