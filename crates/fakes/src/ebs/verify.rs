//! The gateway's check of an AWS4-HMAC-SHA256 signature, written from the published definition and from nobody's client.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::refusal::Refusal;
use crate::cloud::{Key, Keys, Received, hmac};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// What stays as it is in a canonical request.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The services behind this address, by the names in a credential's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Ebs,
    Ec2,
}

impl Service {
    fn scope(self) -> &'static str {
        match self {
            Self::Ebs => "ebs",
            Self::Ec2 => "ec2",
        }
    }

    /// The same refusal in each service's words.
    fn refusal(self, ebs: (u16, &str), ec2: (u16, &str), message: &str) -> Refusal {
        let (status, code) = match self {
            Self::Ebs => ebs,
            Self::Ec2 => ec2,
        };
        Refusal::new(status, code, None, message)
    }

    fn mismatch(self, message: &str) -> Refusal {
        self.refusal(
            (403, "InvalidSignatureException"),
            (403, "SignatureDoesNotMatch"),
            message,
        )
    }

    fn incomplete(self, message: &str) -> Refusal {
        self.refusal(
            (400, "IncompleteSignatureException"),
            (400, "IncompleteSignature"),
            message,
        )
    }
}

/// Knows the keys.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    pub(crate) keys: Keys,
}

impl Verifier {
    /// Whether a known key signed the request for this service and region, just now by `wall`; temporary keys end by `now`.
    /// `payload` is the SHA-256 of the body.
    pub(crate) fn verify(
        &self,
        request: &Received,
        payload: &[u8],
        (service, region): (Service, &str),
        (wall, now): (Timestamp, Timestamp),
    ) -> Result<(), Refusal> {
        let header = request.header("authorization").ok_or_else(|| {
            let code = "MissingAuthenticationToken";
            service.refusal(
                (403, "MissingAuthenticationTokenException"),
                (403, code),
                "the request is not signed",
            )
        })?;
        let claim = Claim::parse(header)
            .ok_or_else(|| service.incomplete("the authorization header is not a signature of version 4"))?;
        let date = request.header("x-amz-date").unwrap_or_default();
        let signed_at = parse_date(date).ok_or_else(|| service.incomplete("x-amz-date is absent or malformed"))?;
        if wall.duration_since(signed_at).abs() > WINDOW {
            return Err(service.refusal(
                (403, "InvalidSignatureException"),
                (400, "RequestExpired"),
                "Signature expired: the date is more than fifteen minutes off",
            ));
        }
        let scope = [date.get(..8).unwrap_or_default(), region, service.scope(), TERMINATOR].join("/");
        if claim.scope != scope {
            let message = format!("Credential should be scoped to {scope}, not {}", claim.scope);
            return Err(service.mismatch(&message));
        }
        let key = self.key(&claim.key_id, request, service, now)?;
        check_signed_headers(request, &claim).map_err(|message| service.mismatch(&message))?;
        let hash = payload_hash(request, payload).map_err(|message| service.mismatch(message))?;
        let canonical = canonical_request(request, &claim, &hash);
        let to_sign = format!(
            "{ALGORITHM}\n{date}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let mut signing_key = format!("AWS4{}", key.secret).into_bytes();
        for part in scope.split('/') {
            signing_key = hmac(&signing_key, part.as_bytes());
        }
        if hex::encode(hmac(&signing_key, to_sign.as_bytes())) != claim.signature {
            return Err(service.mismatch("The request signature we calculated does not match the one you provided."));
        }
        Ok(())
    }

    fn key(&self, id: &str, request: &Received, service: Service, now: Timestamp) -> Result<&Key, Refusal> {
        let unknown = || {
            let message = "The security token included in the request is invalid.";
            service.refusal((403, "UnrecognizedClientException"), (401, "AuthFailure"), message)
        };
        let key = self.keys.0.get(id).ok_or_else(unknown)?;
        match (&key.session, request.header("x-amz-security-token")) {
            (None, None) => Ok(key),
            (Some((token, ends)), Some(given)) if token == given => match now < *ends {
                true => Ok(key),
                false => Err(service.refusal(
                    (403, "ExpiredTokenException"),
                    (400, "RequestExpired"),
                    "The security token included in the request is expired",
                )),
            },
            _ => Err(unknown()),
        }
    }
}

/// The list is sorted, names nothing twice or absent, and has all that must be in it: the host, and every `x-amz-` header, so
/// that nobody on the way can change a checksum.
fn check_signed_headers(request: &Received, claim: &Claim) -> Result<(), String> {
    let listed: BTreeSet<&str> = claim.signed.iter().map(String::as_str).collect();
    if !claim.signed.iter().map(String::as_str).eq(listed.iter().copied()) {
        return Err("the signed headers are not sorted or not unique".to_owned());
    }
    if let Some(absent) = listed.iter().find(|name| request.header(name).is_none()) {
        return Err(format!("the signed header {absent} is not there exactly once"));
    }
    let needed = |name: &str| name == "host" || name.starts_with("x-amz-");
    let mut names = request.headers.iter().map(|(name, _)| name.as_str());
    match names.find(|name| needed(name) && !listed.contains(name)) {
        Some(name) => Err(format!("the header {name} is not signed")),
        None => Ok(()),
    }
}

/// The hash of the body that goes into the signature.
fn payload_hash(request: &Received, payload: &[u8]) -> Result<String, &'static str> {
    let actual = hex::encode(payload);
    match request.header("x-amz-content-sha256") {
        None => Ok(actual),
        Some(UNSIGNED_PAYLOAD) => Ok(UNSIGNED_PAYLOAD.to_owned()),
        Some(claimed) if claimed == actual => Ok(actual),
        Some(_) => Err("x-amz-content-sha256 is not the hash of the body"),
    }
}

/// What the authorization header says.
struct Claim {
    key_id: String,
    scope: String,
    signed: Vec<String>,
    signature: String,
}

impl Claim {
    fn parse(header: &str) -> Option<Self> {
        let mut fields = header.strip_prefix(ALGORITHM)?.split(',').map(str::trim);
        let credential = fields.next()?.strip_prefix("Credential=")?;
        let signed = fields.next()?.strip_prefix("SignedHeaders=")?;
        let signature = fields.next()?.strip_prefix("Signature=")?;
        let (key_id, scope) = credential.split_once('/')?;
        fields.next().is_none().then(|| Self {
            key_id: key_id.to_owned(),
            scope: scope.to_owned(),
            signed: signed.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
        })
    }
}

/// `20261121T162333Z`
fn parse_date(text: &str) -> Option<Timestamp> {
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let date = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(date.timestamp())
}

fn canonical_request(request: &Received, claim: &Claim, payload_hash: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, KEPT).to_string();
    // The path is encoded once more than it arrives, as for every service but S3.
    let path: Vec<String> = request.path.split('/').map(encode).collect();
    let mut query: Vec<String> = form_urlencoded::parse(request.query.as_bytes())
        .map(|(name, value)| format!("{}={}", encode(&name), encode(&value)))
        .collect();
    query.sort_unstable();
    let mut headers = String::new();
    for name in &claim.signed {
        let value = request.header(name).unwrap_or_default();
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        // Writing to a string cannot fail.
        let _ = writeln!(headers, "{name}:{}", words.join(" "));
    }
    let signed = claim.signed.join(";");
    let (path, query) = (path.join("/"), query.join("&"));
    format!(
        "{}\n{path}\n{query}\n{headers}\n{signed}\n{payload_hash}",
        request.method
    )
}
