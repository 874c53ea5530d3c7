//! Whole requests against captured ones.

use imagecache_cloud_http::Credential;
use imagecache_core::Secret;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::endpoint::Network;

const VECTORS: &str = include_str!("../../tests/it/vectors/tc3.json");

#[derive(Deserialize)]
struct Vector {
    name: String,
    key_id: String,
    secret: String,
    token: Option<String>,
    timestamp: i64,
    method: String,
    host: String,
    region: Option<String>,
    action: String,
    body: String,
    params: Option<Value>,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    signed_headers: String,
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

fn signing(credential: &Credential, second: i64) -> Signing<'_> {
    Signing {
        credential,
        at: Timestamp::from_second(second).unwrap(),
        nonce: "n",
    }
}

fn call(product: Product, action: &'static str, body: Value) -> RpcCall {
    RpcCall {
        product,
        action,
        effect: Effect::Repeatable,
        parameters: Parameters::of(body),
    }
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn endpoints() -> Endpoints {
    Endpoints::of("ap-guangzhou", Network::Public).unwrap()
}

#[test]
fn every_captured_call_becomes_the_same_request() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    let mut checked = 0;
    // The document's examples are of another product, and we send no GET.
    for vector in vectors.iter().filter(|vector| vector.method == "POST") {
        let (Some(region), Some(params)) = (&vector.region, &vector.params) else {
            continue;
        };
        let endpoints = endpoints().with(Product::Tke, &vector.host).unwrap();
        let credential = credential(&vector.key_id, &vector.secret, vector.token.as_deref());
        let call = call(Product::Tke, vector.action.clone().leak(), params.clone());
        // Separators and order of names differ between JSON libraries, and the bytes are what is signed.
        let ours: Value = serde_json::from_str(&call.parameters.body()).unwrap();
        assert_eq!(&ours, params, "{}", vector.name);
        let protocol = Tc3::new(endpoints, region.clone());
        let signing = signing(&credential, vector.timestamp);
        let request = protocol.request_with(&call, vector.body.clone(), &signing).unwrap();
        let expected = vector
            .signatures
            .iter()
            .find(|one| one.signed_headers.ends_with("x-tc-action"));
        assert_eq!(request.uri().to_string(), format!("https://{}/", vector.host));
        assert_eq!(request.body(), vector.body.as_bytes());
        for (name, value) in [
            ("authorization", expected.map(|one| one.authorization.as_str())),
            ("content-type", Some("application/json")),
            ("x-tc-action", Some(vector.action.as_str())),
            ("x-tc-version", Some("2018-05-25")),
            ("x-tc-timestamp", Some(vector.timestamp.to_string().as_str())),
            ("x-tc-region", Some(region.as_str())),
            ("x-tc-language", Some("en-US")),
            ("x-tc-token", vector.token.as_deref()),
        ] {
            assert_eq!(header(&request, name), value, "{} {name}", vector.name);
        }
        checked += 1;
    }
    assert_eq!(checked, 18);
}

#[test]
fn neighbours_have_their_own_host_service_and_version() {
    let endpoints = Endpoints::of("ap-guangzhou", Network::Internal).unwrap();
    let protocol = Tc3::new(endpoints, "ap-guangzhou");
    let credential = credential("id", "secret", None);
    for (product, host, scope, version) in [
        (
            Product::Tke,
            "tke.internal.tencentcloudapi.com",
            "/tke/tc3_request",
            "2018-05-25",
        ),
        (
            Product::Sts,
            "sts.internal.tencentcloudapi.com",
            "/sts/tc3_request",
            "2018-08-13",
        ),
    ] {
        let request = protocol
            .request(&call(product, "Action", json!({})), &signing(&credential, 0))
            .unwrap();
        assert_eq!(request.uri().to_string(), format!("https://{host}/"));
        assert_eq!(header(&request, "x-tc-version"), Some(version));
        assert!(header(&request, "authorization").unwrap().contains(scope), "{host}");
        assert!(header(&request, "x-tc-token").is_none(), "there is none");
    }
}

#[test]
fn the_port_is_part_of_the_signed_host_and_the_token_of_nothing() {
    let endpoints = endpoints().with(Product::Tke, "http://127.0.0.1:4711").unwrap();
    let call = call(Product::Tke, "Action", json!({"A": "é"}));
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("host", "127.0.0.1:4711".to_owned()),
        ("x-tc-action", "action".to_owned()),
    ];
    let unsigned = Unsigned {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        payload_hash: &sha256_hex("{\"A\":\"é\"}".as_bytes()),
    };
    let scope = Scope {
        at: Timestamp::UNIX_EPOCH,
        service: "tke",
    };
    let protocol = Tc3::new(endpoints, "ap-guangzhou");
    for token in [None, Some("token")] {
        let credential = credential("id", "secret", token);
        let expected = sign::authorization(&unsigned, &scope, "id", &credential.secret);
        let request = protocol.request(&call, &signing(&credential, 0)).unwrap();
        assert_eq!(header(&request, "authorization"), Some(expected.as_str()), "{token:?}");
        assert_eq!(header(&request, "x-tc-token"), token);
    }
}

#[test]
fn nothing_secret_is_in_debug() {
    let protocol = Tc3::new(endpoints(), "ap-guangzhou");
    let with_secrets = credential("id", "hunter2-secret", Some("hunter2-token"));
    let body = json!({"ImageRegistryCredentials": [{"Password": "hunter2-password"}]});
    let call = call(Product::Tke, "CreateImageCache", body);
    let signing_at = signing(&with_secrets, 0);
    let request = protocol.request(&call, &signing_at).unwrap();
    let shown = format!("{protocol:?} {call:?} {signing_at:?} {:?}", request.headers());
    assert!(!shown.contains("hunter2"), "{shown}");
    let odd = credential("a\nb", "secret", None);
    let error = protocol.request(&call, &signing(&odd, 0)).unwrap_err();
    assert!(error.to_string().contains("no HTTP header can carry"), "{error}");
}
