//! Which credentials belong to which registry: explicit ones, pull secrets, Docker's own configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use imagecache_core::{Error, ErrorKind, RegistryCredential, Secret};
use serde::Deserialize;

use crate::error::fail;

/// User name that marks the password as an identity token.
const TOKEN_USER: &str = "<token>";
/// User name under which an access token travels in a [`RegistryCredential`]; our own, Docker has none.
const ACCESS_TOKEN_USER: &str = "<access-token>";
/// Docker Hub's name in image references.
const DOCKER_HUB: &str = "docker.io";

/// One login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// User name and password, for basic authentication or for a token server.
    Password {
        /// User name.
        username: String,
        /// Password.
        password: Secret<String>,
    },
    /// An OAuth2 refresh token, exchanged for access tokens.
    Identity(Secret<String>),
    /// An access token that is used as it is.
    Registry(Secret<String>),
}

/// Logins by registry and repository, in order of preference.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    entries: Vec<Entry>,
    pub(crate) helpers: BTreeMap<String, String>,
    pub(crate) default_helper: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    host: String,
    path: String,
    login: Login,
}

#[derive(Deserialize)]
struct RawConfig {
    auths: Option<BTreeMap<String, RawAuth>>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct RawAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Keyring {
    /// The logins of explicit credentials.
    pub fn from_credentials(credentials: &[RegistryCredential]) -> Self {
        let entries = credentials.iter().map(|credential| {
            let (host, path) = normalise(&credential.server);
            let login = match credential.username.as_str() {
                TOKEN_USER => Login::Identity(credential.password.clone()),
                ACCESS_TOKEN_USER => Login::Registry(credential.password.clone()),
                username => Login::Password {
                    username: username.to_owned(),
                    password: credential.password.clone(),
                },
            };
            Entry { host, path, login }
        });
        Self {
            entries: entries.collect(),
            ..Self::default()
        }
    }

    /// Parses a `kubernetes.io/dockerconfigjson` secret or a Docker `config.json`. `what` names it in errors.
    ///
    /// Errors: `InvalidSpec` that says where it is malformed and never shows a value.
    pub fn from_docker_config_json(bytes: &[u8], what: &str) -> Result<Self, Error> {
        let raw: RawConfig = parse(bytes, what)?;
        let mut keyring = Self::from_auths(raw.auths.unwrap_or_default(), what)?;
        keyring.default_helper = raw.creds_store.filter(|name| !name.is_empty());
        keyring.helpers = raw
            .cred_helpers
            .unwrap_or_default()
            .into_iter()
            .map(|(host, name)| (normalise(&host).0, name))
            .collect();
        Ok(keyring)
    }

    /// Parses a legacy `kubernetes.io/dockercfg` secret: the `auths` table by itself.
    ///
    /// Errors: as for [`from_docker_config_json`](Self::from_docker_config_json).
    pub fn from_dockercfg(bytes: &[u8], what: &str) -> Result<Self, Error> {
        Self::from_auths(parse(bytes, what)?, what)
    }

    /// The same logins without external helper programs: a pull secret must not start programs.
    #[must_use]
    pub fn without_helpers(mut self) -> Self {
        self.helpers.clear();
        self.default_helper = None;
        self
    }

    /// These logins, then those of `other`.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        for (host, helper) in other.helpers {
            self.helpers.entry(host).or_insert(helper);
        }
        self.default_helper = self.default_helper.or(other.default_helper);
        self
    }

    /// The explicit credentials in it, in the form that a cache spec carries.
    pub fn to_credentials(&self) -> Vec<RegistryCredential> {
        self.entries
            .iter()
            .map(|entry| {
                let server = if entry.path.is_empty() {
                    entry.host.clone()
                } else {
                    format!("{}/{}", entry.host, entry.path)
                };
                let (username, password) = match &entry.login {
                    Login::Password { username, password } => (username.clone(), password.clone()),
                    Login::Identity(token) => (TOKEN_USER.to_owned(), token.clone()),
                    Login::Registry(token) => (ACCESS_TOKEN_USER.to_owned(), token.clone()),
                };
                RegistryCredential {
                    server,
                    username,
                    password,
                }
            })
            .collect()
    }

    /// Whether programs may know more logins.
    pub(crate) fn has_helpers(&self) -> bool {
        self.default_helper.is_some() || !self.helpers.is_empty()
    }

    /// The login for a repository: the longest matching path wins, then the earliest entry.
    pub fn lookup(&self, host: &str, repository: &str) -> Option<&Login> {
        let host = canonical_host(host);
        let mut best: Option<&Entry> = None;
        for entry in self.entries.iter().filter(|entry| entry.fits(&host, repository)) {
            if best.is_none_or(|best| entry.path.len() > best.path.len()) {
                best = Some(entry);
            }
        }
        best.map(|entry| &entry.login)
    }

    fn from_auths(auths: BTreeMap<String, RawAuth>, what: &str) -> Result<Self, Error> {
        let mut entries = Vec::new();
        for (key, auth) in auths {
            let (host, path) = normalise(&key);
            if let Some(login) = login(auth).map_err(|problem| {
                let key = crate::media_type::clip(&key);
                fail(
                    ErrorKind::InvalidSpec,
                    "credentials",
                    format!("{what}: entry `{key}`: {problem}"),
                )
            })? {
                entries.push(Entry { host, path, login });
            }
        }
        Ok(Self {
            entries,
            ..Self::default()
        })
    }
}

impl Entry {
    fn fits(&self, host: &str, repository: &str) -> bool {
        let below = match repository.strip_prefix(&self.path) {
            Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        below && host_fits(&self.host, host)
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        // serde_json repeats values in its message, and here values are secrets.
        let message = format!(
            "{what} is not a Docker configuration (line {}, column {})",
            error.line(),
            error.column()
        );
        fail(ErrorKind::InvalidSpec, "credentials", message)
    })
}

fn login(auth: RawAuth) -> Result<Option<Login>, &'static str> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = filled(auth.identitytoken) {
        return Ok(Some(Login::Identity(Secret::new(token))));
    }
    if let Some(token) = filled(auth.registrytoken) {
        return Ok(Some(Login::Registry(Secret::new(token))));
    }
    if let Some(encoded) = filled(auth.auth) {
        let encoded = encoded.trim();
        let decoded = STANDARD
            .decode(encoded)
            .or_else(|_| STANDARD_NO_PAD.decode(encoded))
            .map_err(|_| "`auth` is not base64")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "`auth` is not text")?;
        // Docker used to pad the password with NUL bytes.
        let decoded = decoded.trim_end_matches('\0');
        let (username, password) = decoded.split_once(':').ok_or("`auth` is not `user:password`")?;
        return Ok(Some(Login::Password {
            username: username.to_owned(),
            password: Secret::new(password.to_owned()),
        }));
    }
    Ok(match (filled(auth.username), auth.password) {
        (Some(username), Some(password)) => Some(Login::Password {
            username,
            password: Secret::new(password),
        }),
        // `docker login` with a credential store leaves an empty entry behind.
        _ => None,
    })
}

/// Host and path of an `auths` key in any of its historic spellings: `https://index.docker.io/v1/`, `host:5000`,
/// `host/path`.
fn normalise(key: &str) -> (String, String) {
    let key = key.trim();
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.trim_matches('/');
    let path = match path {
        "v1" | "v2" => "",
        path => path,
    };
    (canonical_host(host), path.to_owned())
}

/// Docker Hub goes by several names.
fn canonical_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB.to_owned(),
        _ => host,
    }
}

/// Whether `host` is `pattern`, in which `*` stands for any part of one label, as Kubernetes has it.
fn host_fits(pattern: &str, host: &str) -> bool {
    let split = |text: &str| text.split(['.', ':']).map(str::to_owned).collect::<Vec<_>>();
    let (pattern, host) = (split(pattern), split(host));
    pattern.len() == host.len()
        && pattern
            .iter()
            .zip(&host)
            .all(|(pattern, label)| label_fits(pattern, label))
}

fn label_fits(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((before, after)) => label
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|tail| label_fits(after, tail)))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(keyring: &Keyring, host: &str, repository: &str) -> Option<String> {
        match keyring.lookup(host, repository)? {
            Login::Password { username, password } => Some(format!("{username}:{}", password.expose())),
            Login::Identity(token) => Some(format!("identity {}", token.expose())),
            Login::Registry(token) => Some(format!("registry {}", token.expose())),
        }
    }

    #[test]
    fn finds_logins_by_any_historic_key() {
        let auth = STANDARD.encode("u:p:with:colons");
        for (name, key, host, repository, expected) in [
            (
                "docker hub v1",
                "https://index.docker.io/v1/",
                "docker.io",
                "library/nginx",
                true,
            ),
            ("docker hub bare", "docker.io", "docker.io", "library/nginx", true),
            (
                "docker hub endpoint",
                "registry-1.docker.io",
                "docker.io",
                "library/nginx",
                true,
            ),
            ("port", "https://r.example.com:5000", "r.example.com:5000", "a", true),
            ("other port", "r.example.com:5000", "r.example.com", "a", false),
            ("path", "r.example.com/team", "r.example.com", "team/app", true),
            (
                "other path",
                "r.example.com/team",
                "r.example.com",
                "teammate/app",
                false,
            ),
            ("glob", "*.example.com", "r.example.com", "a", true),
            ("glob is one label", "*.example.com", "a.b.example.com", "a", false),
            (
                "glob inside",
                "r-*.example.com:5000",
                "r-eu.example.com:5000",
                "a",
                true,
            ),
            ("v2", "http://r.example.com/v2/", "r.example.com", "a", true),
        ] {
            let json = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#);
            let keyring = Keyring::from_docker_config_json(json.as_bytes(), "secret").unwrap();
            let expected = expected.then(|| "u:p:with:colons".to_owned());
            assert_eq!(user(&keyring, host, repository), expected, "{name}");
        }
    }

    #[test]
    fn longest_path_wins_and_all_forms_are_read() {
        let json = br#"{"r/a":{"username":"a","password":"1"},"r/a/b":{"identitytoken":"t"},"r":{"registrytoken":"x"},
            "empty":{}}"#;
        let keyring = Keyring::from_dockercfg(json, "secret").unwrap();
        for (repository, expected) in [
            ("a/c", "a:1"),
            ("a/b", "identity t"),
            ("a/b/c", "identity t"),
            ("other", "registry x"),
        ] {
            assert_eq!(
                user(&keyring, "r", repository).as_deref(),
                Some(expected),
                "{repository}"
            );
        }
        assert_eq!(user(&keyring, "empty", "a"), None);
    }

    #[test]
    fn errors_and_debug_show_no_secret() {
        for (name, json) in [
            ("wrong type", r#"{"auths":{"r":{"password":["hunter2"]}}}"#),
            ("wrong base64", r#"{"auths":{"r":{"auth":"hunter2!"}}}"#),
            ("no colon", r#"{"auths":{"r":{"auth":"aHVudGVyMg=="}}}"#),
            ("not json", r#"hunter2"#),
        ] {
            let error = Keyring::from_docker_config_json(json.as_bytes(), "secret `a/b`").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{name}");
            let text = format!("{error} {error:?}");
            assert!(text.contains("a/b") && !text.contains("hunter2"), "{name}: {text}");
        }
        let json = r#"{"auths":{"r":{"username":"u","password":"hunter2"}}}"#;
        let keyring = Keyring::from_docker_config_json(json.as_bytes(), "secret").unwrap();
        assert!(!format!("{keyring:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Keyring::from_docker_config_json(&bytes, "secret");
            let _ = Keyring::from_dockercfg(&bytes, "secret");
        }
    }
}
