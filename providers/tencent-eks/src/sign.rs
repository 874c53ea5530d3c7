//! TC3-HMAC-SHA256, the vendor's third signature, as a pure function (document "Signature v3").

#[cfg(test)]
mod tests;

use imagecache_cloud_http::{Unsigned, hmac_sha256, sha256_hex};
use imagecache_core::Secret;
use jiff::Timestamp;

/// Name of the algorithm, as it stands in what is signed and in the header.
const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// What stands before the secret where the key is derived.
const KEY_PREFIX: &str = "TC3";
/// Last part of the scope.
const TERMINATOR: &str = "tc3_request";

/// When and for which service a signature counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The time that the header `x-tc-timestamp` says.
    pub(crate) at: Timestamp,
    /// The service, such as `tke`.
    pub(crate) service: &'a str,
}

impl Scope<'_> {
    /// The day in UTC, whatever the region.
    fn date(&self) -> String {
        self.at.strftime("%Y-%m-%d").to_string()
    }

    fn text(&self) -> String {
        format!("{}/{}/{TERMINATOR}", self.date(), self.service)
    }
}

/// The value of the header `authorization`.
pub(crate) fn authorization(
    request: &Unsigned<'_>,
    scope: &Scope<'_>,
    key_id: &str,
    secret: &Secret<String>,
) -> String {
    let signature = signature(&string_to_sign(&request.canonical(), scope), scope, secret);
    format!(
        "{ALGORITHM} Credential={key_id}/{}, SignedHeaders={}, Signature={signature}",
        scope.text(),
        request.signed_headers()
    )
}

fn string_to_sign(canonical_request: &str, scope: &Scope<'_>) -> String {
    let parts = [
        ALGORITHM,
        &scope.at.as_second().to_string(),
        &scope.text(),
        &sha256_hex(canonical_request.as_bytes()),
    ];
    parts.join("\n")
}

/// The key is derived from secret, day and service: a leaked one is good for no other.
fn signature(string_to_sign: &str, scope: &Scope<'_>, secret: &Secret<String>) -> String {
    let secret = format!("{KEY_PREFIX}{}", secret.expose()).into_bytes();
    let key = [&scope.date(), scope.service, TERMINATOR]
        .iter()
        .fold(secret, |key, part| hmac_sha256(&key, part));
    hex::encode(hmac_sha256(&key, string_to_sign))
}
