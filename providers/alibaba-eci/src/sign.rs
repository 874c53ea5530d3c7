//! ACS3-HMAC-SHA256, the vendor's third signature, as a pure function (document "V3 request structure and signature").

#[cfg(test)]
mod tests;

use imagecache_cloud_http::{Unsigned, hmac_sha256, sha256_hex};
use imagecache_core::Secret;

/// Name of the algorithm, as it stands in what is signed and in the header.
const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The value of the header `authorization`. Signed are `host`, every `x-acs-*`, and `content-type` if it is sent.
pub(crate) fn authorization(request: &Unsigned<'_>, key_id: &str, secret: &Secret<String>) -> String {
    let signed_headers = request.signed_headers();
    let signature = signature(&string_to_sign(&request.canonical()), secret);
    format!("{ALGORITHM} Credential={key_id},SignedHeaders={signed_headers},Signature={signature}")
}

fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", sha256_hex(canonical_request.as_bytes()))
}

/// The key is the secret itself: no key is derived from date or region.
fn signature(string_to_sign: &str, secret: &Secret<String>) -> String {
    hex::encode(hmac_sha256(secret.expose().as_bytes(), string_to_sign))
}
