//! Names of a cache: the key that we compute and the id that users see.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::CacheSpec;
use crate::text_form::text_form;

/// Characters of the spec's digest in a key: 48 bits, far more than one object ever has specs.
const SPEC_DIGEST_CHARS: usize = 12;
/// What both clouds put in front of an id.
const ID_PREFIX: &str = "imc-";
/// Characters after the prefix, as Alibaba writes them.
const ID_CHARS: usize = 20;
/// Digits of an id.
const ID_ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Longest key: Tencent's longest cache name, and a safe file name.
const MAX_KEY_CHARS: usize = 63;

/// Identifies what one owner asked for: computed from the owner and the spec's digest, so it survives a crash.
///
/// It travels as the cache's name; the same owner with the same spec always finds the same cache. At most 63 characters
/// of `[a-z0-9-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(String);

/// The id that users see: `imc-` and 20 characters of `[0-9a-z]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheId(String);

/// Why a text is neither key nor id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a cache id.
    #[error("`{0}` is not a cache id, which is `imc-` and 20 characters of 0-9 and a-z")]
    Id(String),
    /// Not a cache key.
    #[error("`{0}` is not a cache key, which is 1 to 63 characters of a-z, 0-9 and -")]
    Key(String),
}

impl CacheKey {
    /// The key of `spec` as asked for by the owner with `uid` (a Kubernetes UID, or a name on the command line).
    pub fn new(uid: &str, spec: &CacheSpec) -> Self {
        let digest = hex_prefix(&spec.digest(), SPEC_DIGEST_CHARS);
        let plain = !uid.is_empty()
            && uid.len() + 1 + SPEC_DIGEST_CHARS <= MAX_KEY_CHARS
            && uid
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        // Any other owner name is hashed, so that two owners can never meet in one key.
        let owner = if plain {
            uid.to_owned()
        } else {
            hex_prefix(&Sha256::digest(uid).into(), 32)
        };
        Self(format!("{owner}-{digest}"))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CacheId {
    /// The id that a provider without ids of its own gives to `key`.
    pub fn for_key(key: &CacheKey) -> Self {
        Self(format!("{ID_PREFIX}{}", Self::suffix_of(key.as_str())))
    }

    /// 20 characters of 0-9 and a-z that stand for `text`, as in an id: another text gives others.
    pub fn suffix_of(text: &str) -> String {
        let hash: [u8; 32] = Sha256::digest(text).into();
        let mut number = u128::from_be_bytes(std::array::from_fn(|i| hash.get(i).copied().unwrap_or(0)));
        let mut suffix = String::with_capacity(ID_CHARS);
        for _ in 0..ID_CHARS {
            let digit = usize::try_from(number % 36).unwrap_or(0);
            suffix.push(char::from(ID_ALPHABET.get(digit).copied().unwrap_or(b'0')));
            number /= 36;
        }
        suffix
    }

    /// Takes an id as a vendor wrote it: `imc-` and at least one character of `[0-9a-z]`. Tencent's are shorter than ours.
    pub fn from_vendor(text: &str) -> Result<Self, IdError> {
        match text.strip_prefix(ID_PREFIX) {
            Some(rest) if !rest.is_empty() && rest.len() <= MAX_KEY_CHARS && rest.bytes().all(is_id_byte) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(IdError::Id(text.to_owned())),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn hex_prefix(hash: &[u8; 32], chars: usize) -> String {
    let mut hex = crate::Digest::from_sha256(*hash).hex().to_owned();
    hex.truncate(chars);
    hex
}

impl FromStr for CacheKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let valid =
            (1..=MAX_KEY_CHARS).contains(&text.len()) && text.bytes().all(|byte| is_id_byte(byte) || byte == b'-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Key(text.to_owned()))
        }
    }
}

impl FromStr for CacheId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::from_vendor(text)
    }
}

macro_rules! shown {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
shown!(CacheKey);
shown!(CacheId);
text_form!(CacheKey);
text_form!(CacheId);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageRef;

    fn spec(image: &str) -> CacheSpec {
        CacheSpec::new(vec![ImageRef::parse(image).unwrap()])
    }

    #[test]
    fn key_changes_with_owner_and_spec_only() {
        let uid = "5c8aa1cc-7d0f-4f0a-9a0a-0f6f0b8c2f11";
        let key = CacheKey::new(uid, &spec("nginx"));
        assert_eq!(key, CacheKey::new(uid, &spec("docker.io/library/nginx:latest")));
        assert_ne!(key, CacheKey::new(uid, &spec("nginx:1")));
        assert_ne!(key, CacheKey::new("other", &spec("nginx")));
        assert!(key.as_str().starts_with(uid));
        assert!(key.as_str().len() <= MAX_KEY_CHARS);
    }

    #[test]
    fn strange_owners_make_valid_keys() {
        for owner in ["", "UPPER", "a b", &"x".repeat(300), "../../etc", "ünïcode"] {
            let key = CacheKey::new(owner, &spec("nginx"));
            assert_eq!(key.as_str().parse::<CacheKey>().as_ref(), Ok(&key), "{owner}");
        }
    }

    #[test]
    fn ids_have_the_vendors_form() {
        let id = CacheId::for_key(&CacheKey::new("a", &spec("nginx")));
        assert_eq!(id.as_str().len(), ID_PREFIX.len() + ID_CHARS);
        assert_eq!(id.as_str().parse::<CacheId>(), Ok(id));
        for bad in ["", "imc-", "imc-UPPER", "imc-a/b", "abc-1", "imc-../x"] {
            assert!(bad.parse::<CacheId>().is_err(), "{bad}");
        }
    }
}
