//! The signature against what the vendor's SDK sent and the vendor's document prints.

use serde::Deserialize;

use super::*;
use crate::params::Parameters;

/// Requests captured from the vendor's SDK, and the two worked examples of the document; dates and nonces pinned.
const VECTORS: &str = include_str!("../../tests/it/vectors/v3.json");
/// All of them: fewer means that one was lost.
const VECTOR_COUNT: usize = 15;

#[derive(Deserialize)]
struct Vector {
    name: String,
    key_id: String,
    secret: String,
    method: String,
    path: String,
    /// `None` where the source does not show the URL.
    raw_query: Option<String>,
    pairs: Vec<(String, String)>,
    body: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    which: String,
    headers: Vec<(String, String)>,
    canonical_request: String,
    hashed_canonical_request: String,
    string_to_sign: String,
    signature: String,
    authorization: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(VECTORS).unwrap()
}

fn parameters(pairs: &[(String, String)]) -> Parameters {
    let mut parameters = Parameters::new();
    for (name, value) in pairs {
        parameters.set(name.clone(), value);
    }
    parameters
}

#[test]
fn every_vector_is_reproduced_to_the_byte() {
    let vectors = vectors();
    assert_eq!(vectors.len(), VECTOR_COUNT);
    for vector in &vectors {
        let parameters = parameters(&vector.pairs);
        let payload_hash = sha256_hex(vector.body.as_bytes());
        let secret = Secret::new(vector.secret.clone());
        let query = parameters.canonical_query();
        assert!(!vector.signatures.is_empty(), "{}", vector.name);
        for expected in &vector.signatures {
            let name = format!("{} ({})", vector.name, expected.which);
            let headers: Vec<(&'static str, String)> = expected
                .headers
                .iter()
                .map(|(name, value)| (&*name.clone().leak(), value.clone()))
                .collect();
            let request = Unsigned {
                method: &vector.method,
                path: &vector.path,
                query: &query,
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
            let to_sign = string_to_sign(&canonical);
            assert_eq!(to_sign, expected.string_to_sign, "{name}");
            assert_eq!(signature(&to_sign, &secret), expected.signature, "{name}");
            assert_eq!(
                authorization(&request, &vector.key_id, &secret),
                expected.authorization,
                "{name}"
            );
        }
    }
}

#[test]
fn every_query_is_sent_as_the_sdk_sends_it() {
    let vectors = vectors();
    for vector in &vectors {
        if let Some(raw) = &vector.raw_query {
            assert_eq!(&parameters(&vector.pairs).wire_query(), raw, "{}", vector.name);
        }
    }
    let with_query = vectors.iter().filter(|vector| vector.raw_query.is_some()).count();
    assert_eq!(with_query, VECTOR_COUNT - 2, "only the document's examples show no URL");
}

#[test]
fn a_form_body_is_encoded_like_a_query() {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| !vector.body.is_empty()).unwrap();
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(vector.body.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(parameters(&pairs).wire_query(), vector.body);
}
