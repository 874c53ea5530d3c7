//! The verifier against the vendor's own requests, and the gateway against forged ones.

use std::time::Duration;

use imagecache_fakes::tke::{FakeTke, Received, SecretKey, Verifier};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::support::{BOTH, Caller, Headers, TKE, Unsigned, sign, wanted};

/// A request that the vendor's SDK or documentation signed.
struct Vector {
    name: String,
    service: String,
    secret_id: String,
    secret: String,
    token: Option<String>,
    timestamp: i64,
    method: String,
    query: String,
    headers: Headers,
    body: String,
    signed: Vec<Signed>,
}

struct Signed {
    headers: String,
    canonical: String,
    to_sign: String,
    authorization: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        let all: Vec<Value> = serde_json::from_str(include_str!("vectors/tc3.json")).unwrap();
        all.iter().map(Self::read).collect()
    }

    fn read(vector: &Value) -> Self {
        let text = |from: &Value, name: &str| from[name].as_str().unwrap().to_owned();
        let headers = vector["headers"].as_object().unwrap();
        let signed = vector["signed"].as_array().unwrap().iter().map(|signed| Signed {
            headers: text(signed, "headers"),
            canonical: text(signed, "canonical"),
            to_sign: text(signed, "to_sign"),
            authorization: text(signed, "authorization"),
        });
        Self {
            name: text(vector, "name"),
            service: text(vector, "service"),
            secret_id: text(vector, "secret_id"),
            secret: text(vector, "secret"),
            token: vector["token"].as_str().map(str::to_owned),
            timestamp: vector["timestamp"].as_i64().unwrap(),
            method: text(vector, "method"),
            query: text(vector, "query"),
            headers: headers
                .keys()
                .map(|name| (name.clone(), text(&vector["headers"], name)))
                .collect(),
            body: text(vector, "body"),
            signed: signed.collect(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.timestamp).unwrap()
    }

    fn verifier(&self) -> Verifier {
        let session = self
            .token
            .clone()
            .map(|token| (token, self.now() + Duration::from_secs(60)));
        let key = SecretKey {
            secret: self.secret.clone(),
            session,
        };
        let mut verifier = Verifier::default();
        verifier.add(self.secret_id.clone(), key);
        verifier
    }

    fn received(&self, authorization: &str) -> Received {
        let mut headers = self.headers.clone();
        headers.push(("Authorization".to_owned(), authorization.to_owned()));
        Received::new(&self.method, "/", &self.query, headers, self.body.clone().into_bytes())
    }

    fn check(&self, received: &Received) -> Result<String, String> {
        let verified = self
            .verifier()
            .verify(received, &self.service, self.now(), SignedDuration::ZERO);
        verified.map_err(|refusal| refusal.code)
    }
}

#[test]
fn every_vector_is_accepted_and_signed_alike_here() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 21);
    for vector in vectors {
        for signed in &vector.signed {
            let name = format!("{} {}", vector.name, signed.headers);
            let received = vector.received(&signed.authorization);
            assert_eq!(vector.check(&received).as_ref(), Ok(&vector.secret_id), "{name}");
            let request = Unsigned {
                method: &vector.method,
                query: &vector.query,
                body: vector.body.as_bytes(),
                service: &vector.service,
                seconds: vector.timestamp,
            };
            let key = (vector.secret_id.as_str(), vector.secret.as_str());
            let names: Vec<&str> = signed.headers.split(';').collect();
            let own = sign(key, &request, &vector.headers, &names);
            assert_eq!(own.canonical, signed.canonical, "{name}");
            assert_eq!(own.to_sign, signed.to_sign, "{name}");
            assert_eq!(own.authorization, signed.authorization, "{name}");
        }
    }
}

/// Every text that differs from `text` by the lowest bit of one byte, which never is a change of case.
fn changed(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..text.len()).map(|position| {
        let mut other = text.to_vec();
        other[position] ^= 1;
        other
    })
}

#[test]
fn any_changed_byte_is_refused() {
    let mut tried = 0;
    for vector in Vector::all() {
        for signed in &vector.signed {
            let mut refused = |received: &Received, what: &str| {
                tried += 1;
                let result = vector.check(received);
                assert!(
                    result.is_err(),
                    "{} {}: {what} {received:?}",
                    vector.name,
                    signed.headers
                );
            };
            let good = vector.received(&signed.authorization);
            for body in changed(&good.body) {
                refused(&Received { body, ..good.clone() }, "body");
            }
            for query in changed(good.query.as_bytes()) {
                let query = String::from_utf8(query).unwrap();
                refused(&Received { query, ..good.clone() }, "query");
            }
            for method in changed(good.method.as_bytes()) {
                let method = String::from_utf8(method).unwrap();
                refused(&Received { method, ..good.clone() }, "method");
            }
            for (position, (name, value)) in good.headers.iter().enumerate() {
                let unsigned = name == "x-tc-version"
                    || name == "x-tc-region"
                    || (name == "x-tc-action" && !signed.headers.contains("x-tc-action"));
                for value in changed(value.as_bytes()).take_while(|_| !unsigned) {
                    let mut received = good.clone();
                    received.headers[position].1 = String::from_utf8(value).unwrap();
                    refused(&received, name);
                }
            }
            for extra in [b"".as_slice(), b" ", b"{}"] {
                let body = [&good.body, extra].concat();
                let same = body == good.body;
                assert_eq!(
                    vector.check(&Received { body, ..good.clone() }).is_ok(),
                    same,
                    "{}",
                    vector.name
                );
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

#[test]
fn times_scopes_and_keys_are_checked() {
    let vector = Vector::all().remove(0);
    let good = vector.received(&vector.signed[1].authorization);
    let verifier = vector.verifier();
    for (seconds, expected) in [
        (-300, ""),
        (300, ""),
        (-301, "AuthFailure.SignatureExpire"),
        (301, "AuthFailure.SignatureExpire"),
    ] {
        let now = vector.now() + SignedDuration::from_secs(seconds);
        let code = verifier
            .verify(&good, "tke", now, SignedDuration::ZERO)
            .map_or_else(|refusal| refusal.code, |_| String::new());
        assert_eq!(code, expected, "{seconds}");
    }
    let authorization = &vector.signed[1].authorization;
    let rows = [
        (
            "scheme",
            "TC3-HMAC-SHA256",
            "TC3-HMAC-SHA1",
            "AuthFailure.InvalidAuthorization",
        ),
        ("blank", ", Signature", ",Signature", "AuthFailure.InvalidAuthorization"),
        ("end", "tc3_request", "tc4_request", "AuthFailure.InvalidAuthorization"),
        ("key", "AKIDtest", "AKIDother", "AuthFailure.SecretIdNotFound"),
        ("date", "2023-11-14", "2023-11-15", "AuthFailure.SignatureFailure"),
        ("service", "/tke/", "/cvm/", "AuthFailure.SignatureFailure"),
        (
            "order",
            "content-type;host",
            "host;content-type",
            "AuthFailure.SignatureFailure",
        ),
        (
            "twice",
            "content-type;host",
            "content-type;host;host",
            "AuthFailure.SignatureFailure",
        ),
        (
            "case",
            "content-type;host",
            "Content-Type;host",
            "AuthFailure.SignatureFailure",
        ),
        ("too few", "content-type;host;", "host;", "AuthFailure.SignatureFailure"),
        (
            "absent",
            "x-tc-action",
            "x-tc-action;x-tc-token",
            "AuthFailure.SignatureFailure",
        ),
    ];
    for (name, from, to, expected) in rows {
        let received = vector.received(&authorization.replacen(from, to, 1));
        assert_eq!(vector.check(&received), Err(expected.to_owned()), "{name}");
    }
    for name in ["content-type", "host", "x-tc-action", "x-tc-timestamp", "x-tc-version"] {
        let mut received = good.clone();
        received.headers.retain(|(found, _)| found != name);
        assert_eq!(
            vector.check(&received),
            Err("MissingParameter".to_owned()),
            "without {name}"
        );
        let mut received = good.clone();
        let value = received.header(name).unwrap().to_owned();
        received.headers.push((name.to_owned(), value));
        assert_eq!(
            vector.check(&received),
            Err("MissingParameter".to_owned()),
            "{name} twice"
        );
    }
    let mut strict = vector.verifier();
    strict.require_signed_action(true);
    let short = vector.received(&vector.signed[0].authorization);
    let verify = |received: &Received| strict.verify(received, "tke", vector.now(), SignedDuration::ZERO);
    assert!(verify(&good).is_ok() && verify(&short).is_err());
}

#[tokio::test]
async fn the_gateway_believes_only_good_calls() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let body = wanted("a", json!({})).to_string().into_bytes();
    let good = caller.headers(TKE, "CreateImageCache", &body, Timestamp::now());
    let with = |name: &str, value: Option<&str>| {
        let mut headers = good.clone();
        headers.retain(|(found, _)| found != name);
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        headers
    };
    let minutes = |minutes: i64| {
        let at = Timestamp::now() + SignedDuration::from_mins(minutes);
        caller.headers(TKE, "CreateImageCache", &body, at)
    };
    let other_version = caller.headers(("tke", "2022-05-01"), "CreateImageCache", &body, Timestamp::now());
    let other_service = caller.headers(("cvm", TKE.1), "CreateImageCache", &body, Timestamp::now());
    let other_action = caller.headers(TKE, "createImageCache", &body, Timestamp::now());
    let rows = [
        (
            "unsigned",
            with("authorization", None),
            "AuthFailure.InvalidAuthorization",
        ),
        (
            "skipped",
            with("authorization", Some("SKIP")),
            "AuthFailure.InvalidAuthorization",
        ),
        (
            "token",
            with("x-tc-token", Some("of-another")),
            "AuthFailure.TokenFailure",
        ),
        (
            "action",
            with("x-tc-action", Some("DeleteImageCaches")),
            "AuthFailure.SignatureFailure",
        ),
        (
            "charset",
            with("content-type", Some("application/json; charset=utf-8")),
            "AuthFailure.SignatureFailure",
        ),
        (
            "host",
            with("host", Some("tke.tencentcloudapi.com")),
            "AuthFailure.SignatureFailure",
        ),
        ("past", minutes(-6), "AuthFailure.SignatureExpire"),
        ("future", minutes(6), "AuthFailure.SignatureExpire"),
        ("service", other_service, "AuthFailure.SignatureFailure"),
        ("version", other_version, "NoSuchVersion"),
        (
            "unsigned version",
            with("x-tc-version", Some("2018-05-24")),
            "NoSuchVersion",
        ),
        ("case of the action", other_action, "InvalidAction"),
        ("region", with("x-tc-region", Some("ap-guangzhot")), "UnsupportedRegion"),
        ("no region", with("x-tc-region", None), "MissingParameter"),
    ];
    for (name, headers, expected) in rows {
        let answer = caller.post(&headers, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (200, expected), "{name}");
    }
    assert_eq!(fake.creations(), 0);
    caller.post(&good, &body).await.ok();
    assert_eq!((fake.creations(), fake.rejected("AuthFailure.SignatureExpire")), (1, 2));

    let short = Caller {
        signed: BOTH,
        ..caller.clone()
    };
    assert_eq!(
        short.tke("DescribeImageCaches", json!({})).await.code(),
        "AuthFailure.SignatureFailure"
    );
    fake.require_signed_action(false);
    short.describe(json!({})).await;
}

#[tokio::test]
async fn the_clock_is_the_services_own() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    fake.advance(Duration::from_secs(3600));
    let answer = caller.tke("DescribeImageCaches", json!({})).await;
    assert_eq!(answer.code(), "AuthFailure.SignatureExpire");
    let date = jiff::fmt::rfc2822::parse(&answer.date).unwrap().timestamp();
    let headers = caller.headers(TKE, "DescribeImageCaches", b"{}", date);
    caller.post(&headers, b"{}").await.ok();
    fake.set_clock_skew(SignedDuration::from_secs(-3600));
    caller.describe(json!({})).await;
    fake.set_clock_skew(SignedDuration::ZERO);
    fake.age(Duration::from_secs(24 * 3600));
    let headers = caller.headers(TKE, "DescribeImageCaches", b"{}", date);
    caller.post(&headers, b"{}").await.ok();
}

#[tokio::test]
async fn temporary_keys_need_their_token_and_end() {
    let fake = FakeTke::start().await;
    let key = fake.issue_key(Duration::from_secs(60));
    let caller = Caller::with_key(&fake, &key);
    caller.describe(json!({})).await;
    let other = fake.issue_key(Duration::from_secs(60));
    for (name, token, expected) in [
        ("none", None, "AuthFailure.SecretIdNotFound"),
        ("another's", Some(other.token), "AuthFailure.TokenFailure"),
        ("cut", key.token.get(1..).map(str::to_owned), "AuthFailure.TokenFailure"),
    ] {
        let caller = Caller {
            token,
            ..caller.clone()
        };
        assert_eq!(
            caller.tke("DescribeImageCaches", json!({})).await.code(),
            expected,
            "{name}"
        );
    }
    fake.age(Duration::from_secs(60));
    assert_eq!(
        caller.tke("DescribeImageCaches", json!({})).await.code(),
        "AuthFailure.TokenFailure"
    );
    fake.remove_access_key(&key.id);
    assert_eq!(
        caller.tke("DescribeImageCaches", json!({})).await.code(),
        "AuthFailure.SecretIdNotFound"
    );
}

#[tokio::test]
async fn a_get_is_as_good() {
    let fake = FakeTke::start().await;
    let caller = Caller::new(&fake);
    let (first, second) = (caller.create("a").await, caller.create("b").await);
    let get = async |query: &str| {
        let now = Timestamp::now();
        let form = "application/x-www-form-urlencoded";
        let headers = caller.signed_headers(("GET", query), form, TKE, "DescribeImageCaches", b"", now);
        caller.send(&format!("GET /?{query}"), &headers, b"").await.unwrap()
    };
    let query = format!("ImageCacheIds.0={first}&ImageCacheIds.1={second}&Limit=1&Offset=1");
    let found = get(&query).await.ok();
    assert_eq!(
        (&found["TotalCount"], &found["ImageCaches"][0]["ImageCacheId"]),
        (&json!(2), &json!(first))
    );
    let found = get("Filters.0.Name=image-cache-name&Filters.0.Values.0=b").await.ok();
    assert_eq!(found["ImageCaches"][0]["ImageCacheId"], Value::String(second));
    assert_eq!(get("Limit=1&Limit=2").await.code(), "InvalidParameter");
    assert_eq!(get("Limit=one").await.code(), "InvalidParameter");
}
