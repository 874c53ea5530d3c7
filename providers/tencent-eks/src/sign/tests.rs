//! The signature against what the vendor's SDK sent and the vendor's document prints.

use serde::Deserialize;

use super::*;

/// Requests captured from the vendor's SDK, and the two worked examples of the document; timestamps pinned.
const VECTORS: &str = include_str!("../../tests/it/vectors/tc3.json");
/// All of them: fewer means that one was lost.
const VECTOR_COUNT: usize = 21;

#[derive(Deserialize)]
struct Vector {
    name: String,
    key_id: String,
    secret: String,
    timestamp: i64,
    service: String,
    method: String,
    host: String,
    action: String,
    content_type: String,
    query: String,
    body: String,
    payload_hash: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    signed_headers: String,
    canonical_request: String,
    hashed_canonical_request: String,
    string_to_sign: String,
    signature: String,
    authorization: String,
}

#[test]
fn every_vector_is_reproduced_to_the_byte() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.len(), VECTOR_COUNT);
    for vector in &vectors {
        let payload_hash = sha256_hex(vector.body.as_bytes());
        assert_eq!(payload_hash, vector.payload_hash, "{}", vector.name);
        let secret = Secret::new(vector.secret.clone());
        let scope = Scope {
            at: Timestamp::from_second(vector.timestamp).unwrap(),
            service: &vector.service,
        };
        assert!(!vector.signatures.is_empty(), "{}", vector.name);
        for expected in &vector.signatures {
            let name = format!("{} ({})", vector.name, expected.signed_headers);
            let mut headers = vec![
                ("host", vector.host.clone()),
                ("content-type", vector.content_type.clone()),
                ("x-tc-action", vector.action.to_lowercase()),
            ];
            headers.retain(|(name, _)| expected.signed_headers.split(';').any(|signed| signed == *name));
            let request = Unsigned {
                method: &vector.method,
                path: "/",
                query: &vector.query,
                headers: &headers,
                payload_hash: &payload_hash,
            };
            let canonical = request.canonical();
            assert_eq!(canonical, expected.canonical_request, "{name}");
            assert_eq!(
                sha256_hex(canonical.as_bytes()),
                expected.hashed_canonical_request,
                "{name}"
            );
            let to_sign = string_to_sign(&canonical, &scope);
            assert_eq!(to_sign, expected.string_to_sign, "{name}");
            assert_eq!(signature(&to_sign, &scope, &secret), expected.signature, "{name}");
            let authorization = authorization(&request, &scope, &vector.key_id, &secret);
            assert_eq!(authorization, expected.authorization, "{name}");
        }
    }
}
