//! The gateway's check of a TC3-HMAC-SHA256 signature, written from the documented definition and from nobody's client.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::cloud::{Key, Keys, Received, Refusal, hmac};

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const TERMINATOR: &str = "tc3_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Knows the keys.
#[derive(Debug, Default)]
pub struct Verifier {
    pub(crate) keys: Keys,
    action_must_be_signed: bool,
}

impl Verifier {
    /// Lets a key call.
    pub fn add(&mut self, id: impl Into<String>, key: Key) {
        self.keys.0.insert(id.into(), key);
    }

    /// Whether `x-tc-action` must be among the signed headers; both ways are published.
    pub fn require_signed_action(&mut self, required: bool) {
        self.action_must_be_signed = required;
    }

    /// The id of the key that signed the request for `service`. The clock that timestamps are compared with is `skew`
    /// ahead of `now`, by which keys end.
    ///
    /// # Errors
    ///
    /// With the gateway's code when it was not signed exactly so, by a known key, just now.
    pub fn verify(
        &self,
        request: &Received,
        service: &str,
        now: Timestamp,
        skew: SignedDuration,
    ) -> Result<String, Refusal> {
        for name in ["host", "content-type", "x-tc-action", "x-tc-version", "x-tc-timestamp"] {
            if request.header(name).is_none() {
                let message = format!("The request is missing a required parameter `{name}`.");
                return Err(Refusal::new(200, "MissingParameter", message));
            }
        }
        let claim = request.header("authorization").and_then(Claim::parse);
        let claim =
            claim.ok_or_else(|| failure("InvalidAuthorization", "the authorization header is not a signature"))?;
        let timestamp = request.header("x-tc-timestamp").unwrap_or_default();
        let signed_at = seconds(timestamp)
            .ok_or_else(|| Refusal::new(200, "InvalidParameter", "X-TC-Timestamp is not a number of seconds"))?;
        if (now + skew).duration_since(signed_at).abs() > WINDOW {
            return Err(failure(
                "SignatureExpire",
                "the timestamp is more than five minutes off",
            ));
        }
        let scope = [signed_at.strftime("%Y-%m-%d").to_string(), service.to_owned()];
        if [&claim.date, &claim.service] != [&scope[0], &scope[1]] {
            return Err(mismatch("the credential scope is not that of this request"));
        }
        let key = self.key(&claim.key_id, request, now)?;
        self.check_signed_headers(request, &claim)?;
        let canonical = canonical_request(request, &claim).ok_or_else(|| mismatch("a signed header is absent"))?;
        let to_sign = format!(
            "{ALGORITHM}\n{timestamp}\n{}/{}/{TERMINATOR}\n{}",
            claim.date,
            claim.service,
            hex::encode(Sha256::digest(canonical)),
        );
        let mut signing_key = format!("TC3{}", key.secret).into_bytes();
        for part in [&claim.date, service, TERMINATOR] {
            signing_key = hmac(&signing_key, part.as_bytes());
        }
        if hex::encode(hmac(&signing_key, to_sign.as_bytes())) != claim.signature {
            return Err(mismatch("the signature is not the one computed here"));
        }
        Ok(claim.key_id)
    }

    fn key(&self, id: &str, request: &Received, now: Timestamp) -> Result<&Key, Refusal> {
        let unknown = || failure("SecretIdNotFound", "the SecretId does not exist");
        let key = self.keys.0.get(id).ok_or_else(unknown)?;
        let given: Vec<&str> = request
            .headers
            .iter()
            .filter(|(name, _)| name == "x-tc-token")
            .map(|(_, value)| value.as_str())
            .collect();
        match (&key.session, given.as_slice()) {
            (None, []) => Ok(key),
            // The id of a temporary key is none without its token.
            (Some(_), []) => Err(unknown()),
            (Some((token, ends)), [given]) if token == given && now < *ends => Ok(key),
            _ => Err(failure("TokenFailure", "the token is invalid or has expired")),
        }
    }

    /// The list is sorted, names nothing twice or absent, and is complete enough.
    fn check_signed_headers(&self, request: &Received, claim: &Claim) -> Result<(), Refusal> {
        let listed: BTreeSet<&str> = claim.signed.iter().map(String::as_str).collect();
        if !claim.signed.iter().map(String::as_str).eq(listed.iter().copied()) {
            return Err(mismatch("the signed headers are not sorted or not unique"));
        }
        if let Some(absent) = listed.iter().find(|name| request.header(name).is_none()) {
            return Err(mismatch(&format!(
                "the signed header {absent} is not there exactly once"
            )));
        }
        let required: &[&str] = match self.action_must_be_signed {
            true => &["content-type", "host", "x-tc-action"],
            false => &["content-type", "host"],
        };
        match required.iter().find(|name| !listed.contains(*name)) {
            Some(name) => Err(mismatch(&format!("the header {name} is not signed"))),
            None => Ok(()),
        }
    }
}

fn failure(kind: &str, message: &str) -> Refusal {
    Refusal::new(200, format!("AuthFailure.{kind}"), message)
}

fn mismatch(message: &str) -> Refusal {
    failure("SignatureFailure", message)
}

/// What the authorization header says.
struct Claim {
    key_id: String,
    date: String,
    service: String,
    signed: Vec<String>,
    signature: String,
}

impl Claim {
    fn parse(header: &str) -> Option<Self> {
        let fields = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let mut fields = fields.split(", ");
        let credential = fields.next()?.strip_prefix("Credential=")?;
        let signed = fields.next()?.strip_prefix("SignedHeaders=")?;
        let signature = fields.next()?.strip_prefix("Signature=")?;
        let mut scope = credential.split('/');
        let (key_id, date, service) = (scope.next()?, scope.next()?, scope.next()?);
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let whole = fields.next().is_none()
            && scope.eq([TERMINATOR])
            && !key_id.is_empty()
            && signature.len() == 64
            && signature.bytes().all(lower_hex);
        whole.then(|| Self {
            key_id: key_id.to_owned(),
            date: date.to_owned(),
            service: service.to_owned(),
            signed: signed.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
        })
    }
}

/// Unix seconds without sign, zeros in front or anything else.
fn seconds(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    let plain = number.to_string() == text;
    plain.then(|| Timestamp::from_second(number).ok()).flatten()
}

fn canonical_request(request: &Received, claim: &Claim) -> Option<String> {
    let mut headers = String::new();
    for name in &claim.signed {
        let value = request.header(name)?.trim().to_lowercase();
        // Writing to a string cannot fail.
        let _ = writeln!(headers, "{name}:{value}");
    }
    let hash = match request.header("x-tc-content-sha256") {
        Some(UNSIGNED_PAYLOAD) => hex::encode(Sha256::digest(UNSIGNED_PAYLOAD)),
        _ => hex::encode(Sha256::digest(&request.body)),
    };
    Some(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{hash}",
        request.method,
        request.path,
        request.query,
        claim.signed.join(";"),
    ))
}
