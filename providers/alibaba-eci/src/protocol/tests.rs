//! Whole requests against captured ones.

use imagecache_cloud_http::Credential;
use serde::Deserialize;

use super::*;
use crate::endpoint::Network;

const VECTORS: &str = include_str!("../../tests/it/vectors/v3.json");

#[derive(Deserialize)]
struct Vector {
    name: String,
    key_id: String,
    secret: String,
    token: Option<String>,
    date: String,
    nonce: String,
    host: String,
    action: String,
    raw_query: Option<String>,
    pairs: Vec<(String, String)>,
    body: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    which: String,
    headers: Vec<(String, String)>,
    authorization: String,
}

fn credential(id: &str, secret: &str, token: Option<&str>) -> Credential {
    Credential {
        id: id.to_owned(),
        secret: Secret::new(secret.to_owned()),
        token: token.map(|token| Secret::new(token.to_owned())),
        expires_at: None,
    }
}

fn call(product: Product, action: &'static str, pairs: &[(String, String)]) -> RpcCall {
    let mut parameters = Parameters::new();
    for (name, value) in pairs {
        parameters.set(name.clone(), value);
    }
    RpcCall {
        product,
        action,
        effect: Effect::Repeatable,
        parameters,
    }
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

#[test]
fn every_captured_call_becomes_the_same_request() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    let mut checked = 0;
    // The document's examples are of another product, and we send no form bodies.
    for vector in vectors
        .iter()
        .filter(|vector| vector.raw_query.is_some() && vector.body.is_empty())
    {
        let protocol = Acs3::new(Endpoints::of("cn-hangzhou", Network::Public).unwrap());
        let credential = credential(&vector.key_id, &vector.secret, vector.token.as_deref());
        let signing = Signing {
            credential: &credential,
            at: vector.date.parse().unwrap(),
            nonce: &vector.nonce,
        };
        let call = call(Product::Eci, vector.action.clone().leak(), &vector.pairs);
        let request = protocol.request(&call, &signing).unwrap();
        let expected = vector.signatures.iter().find(|one| one.which == "minimal").unwrap();
        let query = vector.raw_query.as_deref().unwrap();
        assert_eq!(
            request.uri().to_string(),
            format!("https://{}/?{query}", vector.host),
            "{}",
            vector.name
        );
        for (name, value) in expected.headers.iter().filter(|(name, _)| name != "host") {
            assert_eq!(header(&request, name), Some(value.as_str()), "{} {name}", vector.name);
        }
        let authorization = Some(expected.authorization.as_str());
        assert_eq!(header(&request, "authorization"), authorization, "{}", vector.name);
        assert_eq!(header(&request, "accept"), Some("application/json"));
        assert!(header(&request, "content-type").is_none(), "there is no body");
        assert!(request.body().is_empty());
        checked += 1;
    }
    assert_eq!(checked, 12);
}

#[test]
fn neighbours_have_their_own_host_and_version() {
    let protocol = Acs3::new(Endpoints::of("cn-hangzhou", Network::Vpc).unwrap());
    let credential = credential("id", "secret", None);
    let signing = Signing {
        credential: &credential,
        // A fraction of a second is not part of the date.
        at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
        nonce: "n",
    };
    for (product, host, version) in [
        (Product::Eci, "eci-vpc.cn-hangzhou.aliyuncs.com", "2018-08-08"),
        (Product::Vpc, "vpc-vpc.cn-hangzhou.aliyuncs.com", "2016-04-28"),
        (Product::Sts, "sts-vpc.cn-hangzhou.aliyuncs.com", "2015-04-01"),
    ] {
        let request = protocol.request(&call(product, "Action", &[]), &signing).unwrap();
        assert_eq!(request.uri().to_string(), format!("https://{host}/"));
        assert_eq!(header(&request, "x-acs-version"), Some(version));
        assert_eq!(header(&request, "x-acs-date"), Some("2026-01-02T03:04:05Z"));
    }
}

#[test]
fn the_port_is_part_of_the_signed_host() {
    let endpoints = Endpoints::of("cn-hangzhou", Network::Public).unwrap();
    let endpoints = endpoints.with(Product::Eci, "http://127.0.0.1:4711").unwrap();
    let credential = credential("id", "secret", None);
    let signing = Signing {
        credential: &credential,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        nonce: "n",
    };
    let call = call(Product::Eci, "Action", &[]);
    let headers = signed_headers(&call, &signing, "127.0.0.1:4711".to_owned());
    let unsigned = Unsigned {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        payload_hash: &sha256_hex(b""),
    };
    let expected = sign::authorization(&unsigned, "id", &credential.secret);
    let request = Acs3::new(endpoints).request(&call, &signing).unwrap();
    assert_eq!(header(&request, "authorization"), Some(expected.as_str()));
}

#[test]
fn nothing_secret_is_in_debug() {
    let protocol = Acs3::new(Endpoints::of("cn-hangzhou", Network::Public).unwrap());
    let credential = credential("id", "hunter2-secret", Some("hunter2-token"));
    let signing = Signing {
        credential: &credential,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        nonce: "n",
    };
    let pairs = [(
        "ImageRegistryCredential.1.Password".to_owned(),
        "hunter2-password".to_owned(),
    )];
    let call = call(Product::Eci, "CreateImageCache", &pairs);
    let request = protocol.request(&call, &signing).unwrap();
    let shown = format!("{protocol:?} {call:?} {signing:?} {:?}", request.headers());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        protocol
            .request(
                &call,
                &Signing {
                    nonce: "a\nb",
                    ..signing
                }
            )
            .is_err(),
        "no header can carry it"
    );
}
