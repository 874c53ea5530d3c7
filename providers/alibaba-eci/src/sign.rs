//! ACS3-HMAC-SHA256, the vendor's third signature, as a pure function (document "V3 request structure and signature").

#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit as _, Mac as _};
use imagecache_core::Secret;
use sha2::{Digest as _, Sha256};

/// Name of the algorithm, as it stands in what is signed and in the header.
const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// A request before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned<'a> {
    /// `POST` or `GET`.
    pub(crate) method: &'a str,
    /// Path of the URL; `/` for an RPC call.
    pub(crate) path: &'a str,
    /// The query, encoded and sorted by name.
    pub(crate) query: &'a str,
    /// The headers to sign: `host`, every `x-acs-*`, `content-type` if sent. Names in lower case, in any order.
    pub(crate) headers: &'a [(&'static str, String)],
    /// [`payload_hash`] of the body.
    pub(crate) payload_hash: &'a str,
}

/// The value of the header `authorization`.
pub(crate) fn authorization(request: &Unsigned<'_>, key_id: &str, secret: &Secret<String>) -> String {
    let signed_headers = signed_headers(request);
    let signature = signature(&string_to_sign(&canonical_request(request)), secret);
    format!("{ALGORITHM} Credential={key_id},SignedHeaders={signed_headers},Signature={signature}")
}

/// What the header `x-acs-content-sha256` says of a body.
pub(crate) fn payload_hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// The request in the one form that both sides compute.
fn canonical_request(request: &Unsigned<'_>) -> String {
    let headers: String = sorted(request)
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let parts = [
        request.method,
        request.path,
        request.query,
        &headers,
        &signed_headers(request),
        request.payload_hash,
    ];
    parts.join("\n")
}

fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", payload_hash(canonical_request.as_bytes()))
}

/// The key is the secret itself: no key is derived from date or region.
fn signature(string_to_sign: &str, secret: &Secret<String>) -> String {
    // A key of any length is accepted, so there is no error to report.
    Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_or_else(
        |_| String::new(),
        |mac| hex::encode(mac.chain_update(string_to_sign).finalize().into_bytes()),
    )
}

fn signed_headers(request: &Unsigned<'_>) -> String {
    let names: Vec<&str> = sorted(request).iter().map(|(name, _)| *name).collect();
    names.join(";")
}

fn sorted<'a>(request: &Unsigned<'a>) -> Vec<&'a (&'static str, String)> {
    let mut headers: Vec<_> = request.headers.iter().collect();
    headers.sort();
    headers
}
