//! Keys, permanent and temporary, and who hands them out.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::{State, Vendor};

/// How long the keys of a machine's role are good for, unless set otherwise.
const ROLE_LIFETIME: Duration = Duration::from_secs(6 * 3600);
/// A key of a role is replaced when less than this part of its life is left.
const RENEWED_AT: u32 = 4;

/// A key that may call.
#[derive(Clone)]
pub struct Key {
    /// Its secret.
    pub secret: String,
    /// The token that belongs to a temporary key, and when both end.
    pub session: Option<(String, Timestamp)>,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// The keys that a verifier knows, by their ids.
#[derive(Debug, Default)]
pub struct Keys(pub(crate) HashMap<String, Key>);

impl Keys {
    /// Lets a permanent key call.
    pub(crate) fn permit(&mut self, id: &str, secret: &str) {
        let key = Key {
            secret: secret.to_owned(),
            session: None,
        };
        self.0.insert(id.to_owned(), key);
    }

    /// Every secret and every token.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let tokens = |key: &Key| key.session.as_ref().map(|(token, _)| token.clone());
        let both = |key: &Key| [Some(key.secret.clone()), tokens(key)];
        self.0.values().flat_map(both).flatten().collect()
    }
}

/// A temporary key.
#[derive(Clone, PartialEq, Eq)]
pub struct StsKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The token that goes with it.
    pub token: String,
    /// When all of it ends.
    pub expires: Timestamp,
}

impl fmt::Debug for StsKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StsKey({}, until {})", self.id, self.expires)
    }
}

/// What the identity side of an account knows.
#[derive(Debug, Default)]
pub struct Sts {
    /// The only token that the identity provider signed; any will do when there is none.
    pub(crate) oidc_token: Option<String>,
    /// The key that the machine's role has now.
    pub(crate) role_key: Option<StsKey>,
    /// How long keys of the machine's role are good for.
    pub(crate) role_lifetime: Option<Duration>,
}

/// Makes a key that verifies from now on, until the service's time says that it has ended.
pub(crate) fn issue<V: Vendor>(state: &mut State<V>, lifetime: Duration) -> StsKey {
    let [id, secret, token] = V::temporary_key(&mut state.mint);
    let expires = state.now() + lifetime;
    let key = Key {
        secret: secret.clone(),
        session: Some((token.clone(), expires)),
    };
    state.own.keys().0.insert(id.clone(), key);
    StsKey {
        id,
        secret,
        token,
        expires,
    }
}

/// The key of the machine's role: the same one until its last quarter.
pub(crate) fn role_key<V: Vendor>(state: &mut State<V>) -> StsKey {
    let lifetime = state.sts.role_lifetime.unwrap_or(ROLE_LIFETIME);
    let now = state.now();
    match &state.sts.role_key {
        Some(key) if now + lifetime / RENEWED_AT < key.expires => key.clone(),
        _ => {
            let key = issue(state, lifetime);
            state.sts.role_key = Some(key.clone());
            key
        }
    }
}

/// Whether the identity provider signed a token; remembers it as a secret.
pub(crate) fn knows_token<V: Vendor>(state: &mut State<V>, token: String) -> bool {
    let known = state.sts.oidc_token.as_ref().is_none_or(|known| *known == token);
    state.received_secrets.insert(token);
    known
}

/// HMAC-SHA256.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
