//! Logging in: from a registry's challenge to the `Authorization` header, with a cache of tokens.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagecache_core::{Error, ErrorKind, Secret};
use reqwest::header::HeaderValue;
use serde::Deserialize;
use url::Url;

use crate::challenge::Challenge;
use crate::credential_helper;
use crate::endpoint::Endpoint;
use crate::error::fail;
use crate::keyring::{Keyring, Login};
use crate::transport::{self, Bounded};

/// Largest answer of a token server.
const MAX_TOKEN_ANSWER_BYTES: usize = 1024 * 1024;
/// Lifetime of a token whose server does not say (Docker's token specification).
const DEFAULT_TOKEN_SECONDS: u64 = 60;
/// Tokens are renewed this much before they end: clocks differ and requests take time.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// How we call ourselves to OAuth2 servers.
const CLIENT_ID: &str = "imagecache";

/// Logins and the tokens that they gave.
#[derive(Debug, Default)]
pub(crate) struct Authenticator {
    keyring: Keyring,
    tokens: Mutex<HashMap<(String, String), Held>>,
    /// One login at a time: layers that start together must not ask for a token each.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Held {
    header: HeaderValue,
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authenticator {
    pub(crate) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            ..Self::default()
        }
    }

    /// Whether there may be a login for `endpoint`. A helper is not asked: it may have one.
    pub(crate) fn may_log_in(&self, endpoint: &Endpoint) -> bool {
        self.keyring.has_helpers() || self.keyring.lookup(&endpoint.host, &endpoint.repository).is_some()
    }

    /// The header to send to `endpoint`, if we logged in before.
    pub(crate) fn header(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let held = tokens.get(&key(endpoint))?;
        held.until
            .is_none_or(|until| Instant::now() < until)
            .then(|| held.header.clone())
    }

    /// Logs in as `challenges` ask, unless somebody else has just replaced the header `refused`.
    pub(crate) async fn renew(
        &self,
        client: &reqwest::Client,
        endpoint: &Endpoint,
        challenges: &[Challenge],
        refused: Option<&HeaderValue>,
        bounded: &Bounded<'_>,
    ) -> Result<(), Error> {
        let _one = self.renewing.lock().await;
        if self.header(endpoint).is_some_and(|header| Some(&header) != refused) {
            return Ok(());
        }
        let login = self.login(endpoint).await?;
        let what = bounded.what;
        let none = || {
            let message = format!(
                "registry `{}` wants credentials for {what} and none were given, or the image does not exist",
                endpoint.host
            );
            fail(ErrorKind::Unauthenticated, bounded.operation, message)
        };
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let held = match (of("bearer"), of("basic"), login) {
            (Some(_), _, Some(Login::Registry(token))) => Held {
                header: bearer(&token)?,
                until: None,
            },
            (Some(challenge), _, login) => {
                let refusal = self.refusal(endpoint, bounded);
                token(client, endpoint, challenge, login.as_ref(), refusal, bounded).await?
            }
            (None, Some(_), Some(Login::Password { username, password })) => Held {
                header: basic(&username, &password)?,
                until: None,
            },
            (None, Some(_), _) => return Err(none()),
            (None, None, _) => {
                let message = format!(
                    "registry `{}` refuses {what} and offers no way to log in that we know",
                    endpoint.host
                );
                return Err(fail(ErrorKind::Unauthenticated, bounded.operation, message));
            }
        };
        if Some(&held.header) == refused {
            return Err(self.refusal(endpoint, bounded));
        }
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key(endpoint), held);
        Ok(())
    }

    /// The error for a login that was tried and refused.
    pub(crate) fn refusal(&self, endpoint: &Endpoint, bounded: &Bounded<'_>) -> Error {
        let message = if self.may_log_in(endpoint) {
            format!(
                "registry `{}` refuses the credentials for {}",
                endpoint.host, bounded.what
            )
        } else {
            format!(
                "registry `{}` gives no anonymous access to {}, or it does not exist",
                endpoint.host, bounded.what
            )
        };
        fail(ErrorKind::Unauthenticated, bounded.operation, message)
    }

    async fn login(&self, endpoint: &Endpoint) -> Result<Option<Login>, Error> {
        if let Some(login) = self.keyring.lookup(&endpoint.host, &endpoint.repository) {
            return Ok(Some(login.clone()));
        }
        credential_helper::login(&self.keyring, &endpoint.host).await
    }
}

fn key(endpoint: &Endpoint) -> (String, String) {
    (endpoint.origin(), scope(endpoint))
}

fn scope(endpoint: &Endpoint) -> String {
    format!("repository:{}:pull", endpoint.repository)
}

async fn token(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    challenge: &Challenge,
    login: Option<&Login>,
    refusal: Error,
    bounded: &Bounded<'_>,
) -> Result<Held, Error> {
    let bad = |problem: &str| {
        let message = format!(
            "registry `{}` cannot be logged in to: its token server {problem}",
            endpoint.host
        );
        fail(ErrorKind::Unauthenticated, bounded.operation, message)
    };
    let realm = challenge.parameter("realm").ok_or_else(|| bad("has no address"))?;
    let mut realm = Url::parse(realm).map_err(|_| bad("has a malformed address"))?;
    let plain = match realm.scheme() {
        "https" => false,
        "http" => true,
        _ => return Err(bad("is neither http:// nor https://")),
    };
    if plain && login.is_some() && !endpoint.is_plain_http() {
        return Err(bad("uses plain HTTP, over which no password is sent"));
    }
    let scope = scope(endpoint);
    let service = challenge.parameter("service").unwrap_or_default();
    let request = if let Some(Login::Identity(identity)) = login {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scope)
            .append_pair("refresh_token", identity.expose())
            .finish();
        client
            .post(realm)
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
    } else {
        if !service.is_empty() {
            realm.query_pairs_mut().append_pair("service", service);
        }
        realm.query_pairs_mut().append_pair("scope", &scope);
        match login {
            Some(Login::Password { username, password }) => client
                .get(realm)
                .header(reqwest::header::AUTHORIZATION, basic(username, password)?),
            _ => client.get(realm),
        }
    };
    let answer = transport::token_answer(request, endpoint, refusal, bounded, MAX_TOKEN_ANSWER_BYTES).await?;
    // The parser's message could repeat the token.
    let answer: TokenAnswer = serde_json::from_slice(&answer).map_err(|_| bad("gives a malformed answer"))?;
    let text = answer
        .token
        .filter(|t| !t.is_empty())
        .or(answer.access_token)
        .unwrap_or_default();
    if text.is_empty() {
        return Err(bad("gives no token"));
    }
    let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_TOKEN_SECONDS));
    // A token that lives shorter than the margin is used until it is refused.
    let until = lifetime
        .checked_sub(TOKEN_MARGIN)
        .and_then(|lifetime| Instant::now().checked_add(lifetime));
    Ok(Held {
        header: bearer(&Secret::new(text))?,
        until,
    })
}

fn bearer(token: &Secret<String>) -> Result<HeaderValue, Error> {
    sensitive(format!("Bearer {}", token.expose()))
}

fn basic(username: &str, password: &Secret<String>) -> Result<HeaderValue, Error> {
    sensitive(format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{}", password.expose()))
    ))
}

fn sensitive(text: String) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        fail(
            ErrorKind::Unauthenticated,
            "login",
            "a token holds characters that cannot be sent",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}
