//! How the registry wants to be logged in to, checked by its own short rules.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{State, lock};

/// Who may read.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Anybody.
    #[default]
    Open,
    /// Whoever sends this user name and password.
    Basic(String, String),
    /// Whoever has a token from `/token`.
    Bearer {
        /// Needed for a token: user name and password, or `None` for anybody.
        login: Option<(String, String)>,
        /// A refresh token that is accepted instead, by `POST`.
        identity: Option<String>,
        /// Requests that a token is good for.
        uses: u64,
        /// Address of the token server; this registry's own by default.
        realm: Option<String>,
    },
}

impl Auth {
    /// Tokens for anybody, good for ever.
    pub fn anonymous_token() -> Self {
        Self::Bearer {
            login: None,
            identity: None,
            uses: u64::MAX,
            realm: None,
        }
    }

    /// Tokens for one user.
    pub fn token_for(username: &str, password: &str) -> Self {
        let login = Some((username.to_owned(), password.to_owned()));
        Self::Bearer {
            login,
            identity: None,
            uses: u64::MAX,
            realm: None,
        }
    }
}

impl State {
    /// `Ok` or the challenge to answer with.
    pub(crate) fn authorize(&self, host: &str, repository: &str, header: Option<&str>) -> Result<(), String> {
        match &self.auth {
            Auth::Open => Ok(()),
            Auth::Basic(username, password) => {
                if header == Some(&basic(username, password)) {
                    return Ok(());
                }
                Err("Basic realm=\"fake\"".to_owned())
            }
            Auth::Bearer { realm, .. } => {
                let token = header.and_then(|header| header.strip_prefix("Bearer "));
                if let Some(token) = token
                    && let Some(left) = lock(&self.tokens).get_mut(token)
                    && *left > 0
                    && token.starts_with(&format!("repository:{repository}:pull."))
                {
                    *left -= 1;
                    return Ok(());
                }
                let realm = realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
                Err(format!(
                    "Bearer realm=\"{realm}\",service=\"fake\",scope=\"repository:{repository}:pull\""
                ))
            }
        }
    }

    /// A new token for the scope in `parameters`, which are a query or a form.
    pub(crate) fn token(&self, header: Option<&str>, parameters: &str) -> Option<String> {
        let Auth::Bearer {
            login, identity, uses, ..
        } = &self.auth
        else {
            return None;
        };
        let parameter = |name: &str| {
            let pair = parameters
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.map(|value| value.replace("%3A", ":").replace("%2F", "/"))
        };
        let allowed = match (login, identity) {
            (_, Some(identity)) if parameter("refresh_token").as_ref() == Some(identity) => {
                parameter("grant_type").as_deref() == Some("refresh_token")
            }
            (None, None) => header.is_none(),
            (Some((username, password)), _) => header == Some(&basic(username, password)),
            (None, Some(_)) => false,
        };
        let scope = parameter("scope")?;
        if !allowed || parameter("service").as_deref() != Some("fake") {
            return None;
        }
        let mut tokens = lock(&self.tokens);
        let token = format!("{scope}.{}", self.requests.lock().map_or(0, |requests| requests.len()));
        tokens.insert(token.clone(), *uses);
        Some(token)
    }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}
