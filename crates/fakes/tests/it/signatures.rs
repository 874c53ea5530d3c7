//! The verifier against signatures that the vendor's SDK made and that its documentation prints.

use imagecache_fakes::eci::{AccessKey, FakeEci, Received, Refusal, Verifier};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Caller, ECI};

/// One signed request and its key.
#[derive(Clone)]
struct Vector {
    name: String,
    id: String,
    secret: String,
    token: Option<String>,
    now: Timestamp,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Vector {
    fn received(&self) -> Received {
        let body = self.body.clone().into_bytes();
        Received::new(&self.method, &self.path, &self.query, self.headers.clone(), body)
    }

    fn verifier(&self) -> Verifier {
        let mut verifier = Verifier::default();
        let ends = self.now + SignedDuration::from_hours(1);
        let session = self.token.clone().map(|token| (token, ends));
        verifier.add(
            self.id.clone(),
            AccessKey {
                secret: self.secret.clone(),
                session,
            },
        );
        verifier
    }

    fn verify(&self) -> Result<String, Refusal> {
        self.verifier().verify(&self.received(), self.now, SignedDuration::ZERO)
    }

    fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(found, _)| found == name).unwrap().1
    }
}

fn vectors() -> Vec<Vector> {
    let all: Vec<Value> = serde_json::from_str(include_str!("vectors/v3.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.iter()
        .map(|vector| Vector {
            name: text(&vector["name"]),
            id: text(&vector["key"]["id"]),
            secret: text(&vector["key"]["secret"]),
            token: vector["key"]["token"].as_str().map(str::to_owned),
            now: text(&vector["key"]["date"]).parse().unwrap(),
            method: text(&vector["method"]),
            path: text(&vector["path"]),
            query: text(&vector["query"]),
            headers: vector["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
            body: text(&vector["body"]),
        })
        .collect()
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).unwrap()
}

#[test]
fn every_vector_is_accepted() {
    let all = vectors();
    assert_eq!(all.len(), 28);
    for vector in all {
        assert_eq!(vector.verify(), Ok(vector.id.clone()), "{}", vector.name);
    }
}

/// The text with each of its bytes changed in turn.
fn changed(text: &str) -> Vec<String> {
    let ascii = text.char_indices().filter(|(_, letter)| letter.is_ascii());
    ascii
        .map(|(at, letter)| {
            let other = if letter == 'x' { "y" } else { "x" };
            format!("{}{other}{}", &text[..at], &text[at + 1..])
        })
        .collect()
}

#[test]
fn a_request_with_one_byte_changed_is_refused() {
    let mut tried = 0;
    let mut refused = |vector: &Vector, what: &str| {
        tried += 1;
        assert!(
            vector.verify().is_err(),
            "{}: accepted with a changed {what}",
            vector.name
        );
    };
    for original in vectors() {
        let mut other = original.clone();
        for method in ["GET", "PUT", "POSt"] {
            other.method = method.to_owned();
            refused(&other, "method");
        }
        other = original.clone();
        other.path = "/x".to_owned();
        refused(&other, "path");
        for query in changed(&original.query) {
            let mut other = original.clone();
            other.query = query;
            refused(&other, "query");
        }
        for body in changed(&original.body) {
            let mut other = original.clone();
            other.body = body;
            refused(&other, "body");
        }
        for secret in changed(&original.secret) {
            let mut other = original.clone();
            other.secret = secret;
            refused(&other, "secret");
        }
        for (index, (name, value)) in original.headers.iter().enumerate() {
            for value in changed(value) {
                let mut other = original.clone();
                other.headers[index].1 = value;
                refused(&other, name);
            }
        }
    }
    assert!(tried > 20_000, "only {tried} were tried");
}

#[test]
fn each_defect_has_its_code() {
    type Defect = fn(&mut Vector);
    let plain = "v3-create-minimal/minimal";
    let sts = "v3-create-minimal-sts/minimal";
    let form = "v3-create-form-body/minimal";
    let table: &[(&str, &str, u16, Defect)] = &[
        (plain, "MissingParameter", 400, |v| {
            v.headers.retain(|(name, _)| name != "x-acs-version")
        }),
        (plain, "MissingParameter", 400, |v| {
            v.headers.retain(|(name, _)| name != "x-acs-action")
        }),
        (plain, "MissingParameter", 400, |v| {
            v.headers.retain(|(name, _)| name != "x-acs-date")
        }),
        (plain, "IncompleteSignature", 400, |v| {
            v.headers.retain(|(name, _)| name != "authorization")
        }),
        (plain, "IncompleteSignature", 400, |v| {
            v.header("authorization").insert(0, ' ')
        }),
        (plain, "IncompleteSignature", 400, |v| {
            v.header("authorization").push_str(",More=1")
        }),
        (plain, "IncompleteSignature", 400, |v| {
            *v.header("authorization") = "ACS3-HMAC-SHA256 x".to_owned()
        }),
        (plain, "InvalidAccessKeyId.NotFound", 404, |v| v.id.push('x')),
        (plain, "InvalidTimeStamp.Format", 400, |v| {
            *v.header("x-acs-date") = "2026-01-02 03:04:05".to_owned()
        }),
        (plain, "InvalidTimeStamp.Expired", 400, |v| {
            v.now += SignedDuration::from_secs(15 * 60 + 1)
        }),
        (plain, "InvalidTimeStamp.Expired", 400, |v| {
            v.now -= SignedDuration::from_secs(15 * 60 + 1)
        }),
        (plain, "SignatureDoesNotMatch", 400, |v| v.secret.push('x')),
        (plain, "SignatureDoesNotMatch", 400, |v| v.body.push('x')),
        (plain, "SignatureDoesNotMatch", 400, |v| v.query.push_str("&More=1")),
        (plain, "SignatureDoesNotMatch", 400, |v| v.query.push_str("&More=%ff")),
        (plain, "SignatureDoesNotMatch", 400, |v| {
            v.headers.push(("x-acs-more".into(), "1".into()))
        }),
        (plain, "SignatureDoesNotMatch", 400, |v| {
            v.headers.push(("content-type".into(), "text/plain".into()))
        }),
        (form, "SignatureDoesNotMatch", 400, |v| {
            let unsigned = v.header("authorization").replace("content-type;", "");
            *v.header("authorization") = unsigned;
        }),
        (plain, "SignatureDoesNotMatch", 400, |v| {
            let swapped = v
                .header("authorization")
                .replace("host;x-acs-action", "x-acs-action;host");
            *v.header("authorization") = swapped;
        }),
        (plain, "MissingParameter", 400, |v| {
            v.headers.push(("host".into(), "other".into()))
        }),
        (plain, "InvalidSecurityToken.MismatchWithAccessKey", 400, |v| {
            v.headers.push(("x-acs-security-token".into(), "t".into()));
        }),
        (sts, "InvalidSecurityToken.Malformed", 400, |v| {
            v.token = Some("another".to_owned())
        }),
        (sts, "InvalidSecurityToken.MismatchWithAccessKey", 400, |v| {
            v.token = None
        }),
        (sts, "InvalidAccessKeyId.NotFound", 404, |v| {
            v.headers.retain(|(name, _)| name != "x-acs-security-token")
        }),
    ];
    for (row, (name, code, status, spoil)) in table.iter().enumerate() {
        let mut vector = vector(name);
        // The key stays what it was unless the row changes it after the verifier was asked.
        spoil(&mut vector);
        let mut verifier = vector.verifier();
        if vector.id.ends_with('x') {
            verifier = Verifier::default();
        }
        let refusal = verifier
            .verify(&vector.received(), vector.now, SignedDuration::ZERO)
            .unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.status),
            (*code, *status),
            "row {row}: {}",
            refusal.message
        );
    }
}

#[test]
fn the_window_of_a_date_is_fifteen_minutes_to_either_side() {
    for seconds in [-900, 0, 900] {
        let mut vector = vector("v3-create-minimal/minimal");
        vector.now += SignedDuration::from_secs(seconds);
        assert!(vector.verify().is_ok(), "{seconds}");
    }
}

#[test]
fn a_token_ends() {
    let vector = vector("v3-create-minimal-sts/minimal");
    let mut verifier = Verifier::default();
    let session = vector.token.clone().map(|token| (token, vector.now));
    verifier.add(
        vector.id.clone(),
        AccessKey {
            secret: vector.secret.clone(),
            session,
        },
    );
    let refusal = verifier
        .verify(&vector.received(), vector.now, SignedDuration::ZERO)
        .unwrap_err();
    assert_eq!(refusal.code, "InvalidSecurityToken.Expired");
}

#[test]
fn a_nonce_is_good_once() {
    let vector = vector("v3-create-minimal/minimal");
    let mut verifier = vector.verifier();
    assert!(
        verifier
            .verify(&vector.received(), vector.now, SignedDuration::ZERO)
            .is_ok()
    );
    let later = vector.now + SignedDuration::from_secs(899);
    let refusal = verifier
        .verify(&vector.received(), later, SignedDuration::ZERO)
        .unwrap_err();
    assert_eq!(refusal.code, "SignatureNonceUsed");
}

#[tokio::test]
async fn dates_are_compared_with_the_clock_of_the_fake() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    let region = [("RegionId", "cn-hangzhou")];
    fake.advance(std::time::Duration::from_secs(3_600));
    let refused = caller.at(ECI, "ListUsage", &region, Timestamp::now()).await;
    assert_eq!((refused.status, refused.code()), (400, "InvalidTimeStamp.Expired"));
    let date = jiff::fmt::rfc2822::parse(&refused.date).unwrap().timestamp();
    assert!(date.duration_since(fake.now()).abs() < SignedDuration::from_secs(5));
    caller.at(ECI, "ListUsage", &region, date).await.ok();
    fake.set_clock_skew(SignedDuration::from_hours(-1));
    caller.at(ECI, "ListUsage", &region, Timestamp::now()).await.ok();
    assert_eq!(fake.rejected("InvalidTimeStamp.Expired"), 1);
    assert_eq!(fake.calls("ListUsage"), 3);
}

#[tokio::test]
async fn what_the_gateway_does_not_know_is_refused() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    let now = Timestamp::now();
    for (version, action, status, code) in [
        (ECI, "CreateContainerGroup", 404, "InvalidAction.NotFound"),
        ("2016-04-28", "CreateImageCache", 404, "InvalidAction.NotFound"),
        ("2018-08-09", "CreateImageCache", 400, "InvalidVersion"),
        (ECI, "ListUsage", 400, "MissingRegionId"),
    ] {
        let answer = caller.at(version, action, &[], now).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{action}");
        for field in ["Message", "RequestId", "HostId", "Recommend"] {
            assert!(!answer.text(&format!("/{field}")).is_empty());
        }
    }
}
