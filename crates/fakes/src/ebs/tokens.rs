//! Page tokens and block tokens: opaque, different each time, valid for a while, and only for what they were given out for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::cloud::{Mint, hmac};

/// How long the token of a list's next page is good.
pub(crate) const PAGE_LIFETIME: SignedDuration = SignedDuration::from_mins(60);
/// How long the token of a block is good.
pub(crate) const BLOCK_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

const NONCE_BYTES: usize = 8;
const INDEX_AT: usize = NONCE_BYTES;
const EXPIRY_AT: usize = INDEX_AT + 4;
const CLAIM_BYTES: usize = EXPIRY_AT + 8;
const MAC_BYTES: usize = 16;

/// Gives them out.
#[derive(Debug)]
pub(crate) struct Tokens {
    key: String,
}

impl Tokens {
    pub(crate) fn new(mint: &mut Mint) -> Self {
        Self { key: mint.hex(64) }
    }

    /// A token for `index` of what `subject` names.
    pub(crate) fn issue(&self, mint: &mut Mint, subject: &str, index: u32, expires: Timestamp) -> String {
        let mut claim = Vec::with_capacity(CLAIM_BYTES + MAC_BYTES);
        claim.extend_from_slice(mint.hex(NONCE_BYTES).as_bytes());
        claim.extend_from_slice(&index.to_be_bytes());
        claim.extend_from_slice(&expires.as_second().to_be_bytes());
        let mac = self.mac(&claim, subject);
        claim.extend_from_slice(&mac);
        STANDARD.encode(claim)
    }

    /// The index that a token is for, if it was given out for `subject` and is still good.
    pub(crate) fn read(&self, token: &str, subject: &str, now: Timestamp) -> Option<u32> {
        let bytes = STANDARD.decode(token).ok()?;
        let (claim, mac) = bytes.split_at_checked(CLAIM_BYTES)?;
        if mac != self.mac(claim, subject) {
            return None;
        }
        let index = u32::from_be_bytes(claim.get(INDEX_AT..EXPIRY_AT)?.try_into().ok()?);
        let expires = i64::from_be_bytes(claim.get(EXPIRY_AT..)?.try_into().ok()?);
        (now.as_second() < expires).then_some(index)
    }

    fn mac(&self, claim: &[u8], subject: &str) -> Vec<u8> {
        let mut mac = hmac(self.key.as_bytes(), &[claim, subject.as_bytes()].concat());
        mac.truncate(MAC_BYTES);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_thing_and_for_a_while() {
        let mut mint = Mint::default();
        let tokens = Tokens::new(&mut mint);
        let now = Timestamp::now();
        let token = tokens.issue(&mut mint, "blocks of a", 7, now + PAGE_LIFETIME);
        let other = tokens.issue(&mut mint, "blocks of a", 7, now + PAGE_LIFETIME);
        assert_ne!(token, other);
        let tampered = token.replacen(token.get(..1).unwrap(), "/", 1);
        let minutes = |minutes| now + SignedDuration::from_mins(minutes);
        for (name, token, subject, at, expected) in [
            ("as given out", &token, "blocks of a", now, Some(7)),
            ("the other one", &other, "blocks of a", now, Some(7)),
            ("of something else", &token, "blocks of b", now, None),
            ("just in time", &token, "blocks of a", minutes(59), Some(7)),
            ("expired", &token, "blocks of a", minutes(61), None),
            ("tampered with", &tampered, "blocks of a", now, None),
            ("nonsense", &"nonsense".to_owned(), "blocks of a", now, None),
        ] {
            assert_eq!(tokens.read(token, subject, at), expected, "{name}");
        }
    }
}
