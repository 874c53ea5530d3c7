//! Answers of every documented shape, and of some that nobody documents.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use super::*;

const ANSWERS: &str = include_str!("../../tests/it/vectors/answers.json");

fn answer(status: u16, content_type: &str, body: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, content_type.parse().unwrap());
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn refused(status: u16, body: &str) -> Refusal {
    check(&answer(status, "application/json", body), &Parameters::new()).unwrap_err()
}

fn error(code: &str, message: &str) -> String {
    json!({"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "r-1"}}).to_string()
}

#[test]
fn what_the_sdk_was_shown() {
    let answers: Value = serde_json::from_str(ANSWERS).unwrap();
    let cases = answers["cases"].as_array().unwrap();
    for (case, expected) in cases.iter().zip([
        Some((RefusalClass::Final, "ResourceNotFound")),
        Some((RefusalClass::Throttled, "RequestLimitExceeded")),
        // The SDK takes this one for a success, for its content type.
        Some((RefusalClass::Final, "ResourceNotFound")),
        Some((RefusalClass::Final, "InvalidParameter")),
        Some((RefusalClass::Unavailable, "HTTP 502")),
        None,
    ]) {
        let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
        let (content_type, body) = (case["content_type"].as_str().unwrap(), case["body"].as_str().unwrap());
        let outcome = check(&answer(status, content_type, body), &Parameters::new());
        let refusal = outcome
            .as_ref()
            .err()
            .map(|refusal| (refusal.class, refusal.code.as_str()));
        assert_eq!(refusal, expected, "{}", case["label"]);
    }
    assert_eq!(cases.len(), 6);
}

#[test]
fn documented_answers() {
    let answers: Value = serde_json::from_str(ANSWERS).unwrap();
    let bodies = answers["bodies"].as_object().unwrap();
    for (name, body) in bodies {
        // Whatever the content type says.
        for content_type in ["application/json", "text/html", "application/json; charset=utf-8"] {
            let outcome = check(&answer(200, content_type, &body.to_string()), &Parameters::new());
            assert_eq!(outcome.is_err(), name.starts_with("error_"), "{name} {content_type}");
            if let Err(refusal) = outcome {
                assert_eq!(
                    Some(refusal.code.as_str()),
                    body["Response"]["Error"]["Code"].as_str(),
                    "{name}"
                );
                assert_eq!(
                    refusal.request_id.as_deref(),
                    body["Response"]["RequestId"].as_str(),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(bodies.len(), 9);
}

#[test]
fn the_code_decides_and_not_the_status() {
    for status in [200, 400, 403, 500, 503] {
        assert_eq!(
            refused(status, &error("LimitExceeded", "full")).class,
            RefusalClass::Final,
            "{status}"
        );
        let throttled = refused(status, &error("RequestLimitExceeded.UinLimitExceeded", "slow down"));
        assert_eq!(throttled.class, RefusalClass::Throttled, "{status}");
    }
    // Only a code that nobody knows goes by the status.
    assert_eq!(refused(200, &error("New", "m")).class, RefusalClass::Final);
    assert_eq!(refused(500, &error("New", "m")).class, RefusalClass::Unavailable);
}

#[test]
fn an_answer_of_something_else() {
    use RefusalClass::{Final, Throttled, Unavailable, Undecodable};
    for (name, status, body, class, code) in [
        ("empty", 200, "", Undecodable, "HTTP 200"),
        ("a page", 200, "<html>log in</html>", Undecodable, "HTTP 200"),
        ("cut", 200, r#"{"Response":{"RequestId":"r"#, Undecodable, "HTTP 200"),
        ("an array", 200, "[]", Undecodable, "HTTP 200"),
        ("no envelope", 200, r#"{"RequestId":"r"}"#, Undecodable, "HTTP 200"),
        (
            "no request id",
            200,
            r#"{"Response":{"Found":false}}"#,
            Undecodable,
            "HTTP 200",
        ),
        (
            "an empty error",
            200,
            r#"{"Response":{"Error":{},"RequestId":"r"}}"#,
            Final,
            "no code",
        ),
        ("a gateway", 502, "<html>bad gateway</html>", Unavailable, "HTTP 502"),
        (
            "a success that is none",
            500,
            r#"{"Response":{"RequestId":"r"}}"#,
            Unavailable,
            "HTTP 500",
        ),
        ("a proxy", 403, "denied", Final, "HTTP 403"),
        ("too many", 429, "", Throttled, "HTTP 429"),
        ("a redirect", 302, "", Final, "HTTP 302"),
    ] {
        let refusal = refused(status, body);
        assert_eq!((refusal.class, refusal.code.as_str()), (class, code), "{name}");
        assert!(!refusal.message.is_empty(), "{name}");
    }
    let null = r#"{"Response":{"Error":null,"RequestId":"r"}}"#;
    assert!(check(&answer(200, "application/json", null), &Parameters::new()).is_ok());
}

#[test]
fn a_message_repeats_no_secret() {
    let password = "p@ss\"w\\ord";
    let body =
        json!({"ImageRegistryCredentials": [{"Password": password}, {"Password": ""}], "WebIdentityToken": "t0ken"});
    let parameters = Parameters::of(body.clone());
    let text = format!("bad value {password} in {body}");
    let told = check(
        &answer(200, "application/json", &error("InvalidParameter", &text)),
        &parameters,
    )
    .unwrap_err();
    for secret in [password, "p@ss\\\"w\\\\ord", "t0ken"] {
        assert!(!told.message.contains(secret), "{}", told.message);
    }
    assert!(told.message.starts_with("bad value … in "), "{}", told.message);
    let told = check(
        &answer(200, "application/json", &error("AuthFailure.SignatureFailure", &text)),
        &parameters,
    );
    assert_eq!(
        told.unwrap_err().message,
        "the signature is wrong, so the secret key is"
    );
}

#[test]
fn long_messages_are_cut() {
    assert!(refused(200, &error("X", &"ü".repeat(2000))).message.chars().count() < 600);
}
