//! The gateway's check of a version 3 signature, written from the documented definition and from nobody's client.

use std::collections::{BTreeSet, HashSet, VecDeque};

use hmac::{Hmac, KeyInit, Mac};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::wire;
use crate::cloud::{Key, Keys, Received, Refusal};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const REQUIRED: &[&str] = &[
    "host",
    "x-acs-action",
    "x-acs-version",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-content-sha256",
];

/// Knows the keys and the nonces that were used.
#[derive(Debug, Default)]
pub struct Verifier {
    pub(crate) keys: Keys,
    nonces: HashSet<String>,
    order: VecDeque<(Timestamp, String)>,
}

impl Verifier {
    /// Lets a key call.
    pub fn add(&mut self, id: impl Into<String>, key: Key) {
        self.keys.0.insert(id.into(), key);
    }

    /// The id of the key that signed the request. The clock that dates are compared with is `skew` ahead of `now`, by which
    /// keys end.
    ///
    /// # Errors
    ///
    /// With the gateway's code when it was not signed exactly so, by a known key, just now, and for the first time.
    pub fn verify(&mut self, request: &Received, now: Timestamp, skew: SignedDuration) -> Result<String, Refusal> {
        for name in REQUIRED {
            if request.header(name).is_none() {
                let message = format!("{name} is mandatory for this action");
                return Err(Refusal::new(400, "MissingParameter", message));
            }
        }
        let Some(authorization) = request.header("authorization") else {
            let message = "the request has no authorization header";
            return Err(Refusal::new(400, "IncompleteSignature", message));
        };
        let claim = Claim::parse(authorization).ok_or_else(|| {
            Refusal::new(
                400,
                "IncompleteSignature",
                "the authorization header does not have the documented form",
            )
        })?;
        check_date(request, now + skew)?;
        let key = self.key(&claim.key_id, request, now)?;
        check_signed_headers(request, &claim)?;
        let hash = hex::encode(Sha256::digest(&request.body));
        if request.header("x-acs-content-sha256") != Some(hash.as_str()) {
            return Err(mismatch("the hash of the body differs", None));
        }
        let canonical =
            canonical_request(request, &claim, &hash).ok_or_else(|| mismatch("the query cannot be decoded", None))?;
        let to_sign = format!("{ALGORITHM}\n{}", hex::encode(Sha256::digest(&canonical)));
        if signature(&key.secret, &to_sign) != claim.signature {
            let message =
                format!("specified signature is not matched with our calculation, server string to sign: {to_sign}");
            return Err(mismatch(&message, Some(canonical)));
        }
        self.use_nonce(request.header("x-acs-signature-nonce").unwrap_or_default(), now + skew)?;
        Ok(claim.key_id)
    }

    fn key(&self, id: &str, request: &Received, now: Timestamp) -> Result<Key, Refusal> {
        let unknown = || Refusal::new(404, "InvalidAccessKeyId.NotFound", "specified access key is not found");
        let key = self.keys.0.get(id).ok_or_else(unknown)?;
        let named = request.header("x-acs-accesskey-id");
        if named.is_some_and(|named| named != id) {
            return Err(mismatch("x-acs-accesskey-id names another key", None));
        }
        match (&key.session, request.header("x-acs-security-token")) {
            (None, None) => Ok(key.clone()),
            (Some(_), None) => Err(unknown()),
            (None, Some(_)) => Err(token("MismatchWithAccessKey", "this key has no security token")),
            (Some((expected, _)), Some(given)) if expected != given => {
                let other = self.keys.0.values().filter_map(|key| key.session.as_ref());
                if other.into_iter().any(|(known, _)| known == given) {
                    Err(token("MismatchWithAccessKey", "the token is that of another key"))
                } else {
                    Err(token("Malformed", "the token is malformed"))
                }
            }
            (Some((_, ends)), Some(_)) if *ends <= now => Err(token("Expired", "the token has expired")),
            (Some(_), Some(_)) => Ok(key.clone()),
        }
    }

    fn use_nonce(&mut self, nonce: &str, now: Timestamp) -> Result<(), Refusal> {
        // A date is good for one window to either side, so a nonce may come back for two.
        while self
            .order
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > WINDOW * 2)
        {
            if let Some((_, old)) = self.order.pop_front() {
                self.nonces.remove(&old);
            }
        }
        if !self.nonces.insert(nonce.to_owned()) {
            return Err(Refusal::new(
                400,
                "SignatureNonceUsed",
                "specified signature nonce was used already",
            ));
        }
        self.order.push_back((now, nonce.to_owned()));
        Ok(())
    }
}

fn mismatch(message: &str, detail: Option<String>) -> Refusal {
    let mut refusal = Refusal::new(400, "SignatureDoesNotMatch", message);
    refusal.detail = detail;
    refusal
}

fn token(kind: &str, message: &str) -> Refusal {
    Refusal::new(400, format!("InvalidSecurityToken.{kind}"), message)
}

/// What the authorization header says.
struct Claim {
    key_id: String,
    signed: Vec<String>,
    signature: String,
}

impl Claim {
    fn parse(header: &str) -> Option<Self> {
        let fields = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let mut fields = fields.split(',');
        let key_id = fields.next()?.strip_prefix("Credential=")?;
        let signed = fields.next()?.strip_prefix("SignedHeaders=")?;
        let signature = fields.next()?.strip_prefix("Signature=")?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let whole = fields.next().is_none() && signature.len() == 64 && signature.bytes().all(lower_hex);
        (whole && !key_id.is_empty()).then(|| Self {
            key_id: key_id.to_owned(),
            signed: signed.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
        })
    }
}

fn check_date(request: &Received, now: Timestamp) -> Result<(), Refusal> {
    let text = request.header("x-acs-date").unwrap_or_default();
    let parsed = DateTime::strptime("%Y-%m-%dT%H:%M:%SZ", text)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map(|date| date.timestamp());
    match parsed {
        Ok(date) if text.len() == 20 => {
            if now.duration_since(date).abs() > WINDOW {
                let message = "specified time stamp or date value is expired";
                return Err(Refusal::new(400, "InvalidTimeStamp.Expired", message));
            }
            Ok(())
        }
        _ => Err(Refusal::new(
            400,
            "InvalidTimeStamp.Format",
            "specified time stamp is not well formatted",
        )),
    }
}

/// The list is sorted, complete, and names nothing that is not there or there twice.
fn check_signed_headers(request: &Received, claim: &Claim) -> Result<(), Refusal> {
    let listed: BTreeSet<&str> = claim.signed.iter().map(String::as_str).collect();
    if !claim.signed.iter().map(String::as_str).eq(listed.iter().copied()) {
        return Err(mismatch("the signed headers are not sorted or not unique", None));
    }
    if let Some(absent) = listed.iter().find(|name| request.header(name).is_none()) {
        return Err(mismatch(
            &format!("the signed header {absent} is not there exactly once"),
            None,
        ));
    }
    let must = |name: &str| name == "host" || name == "content-type" || name.starts_with("x-acs-");
    for (name, _) in &request.headers {
        if must(name) && !listed.contains(name.as_str()) {
            return Err(mismatch(&format!("the header {name} is not signed"), None));
        }
    }
    Ok(())
}

fn canonical_request(request: &Received, claim: &Claim, hash: &str) -> Option<String> {
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs = wire::query(request)?;
    pairs.sort();
    let query: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    let mut headers = String::new();
    for name in &claim.signed {
        headers.push_str(&format!("{name}:{}\n", request.header(name)?.trim()));
    }
    Some(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{hash}",
        request.method,
        request.path,
        query.join("&"),
        claim.signed.join(";"),
    ))
}

fn signature(secret: &str, to_sign: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(to_sign.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
