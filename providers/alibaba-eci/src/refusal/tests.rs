//! Answers of every documented shape, and of some that nobody documents.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use super::*;

const ANSWERS: &str = include_str!("../../tests/it/vectors/answers.json");

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn refused(status: u16, headers: &[(&'static str, &str)], body: &str) -> Refusal {
    check(&answer(status, headers, body), &Parameters::new()).unwrap_err()
}

#[test]
fn documented_answers() {
    let answers: serde_json::Map<String, Value> = serde_json::from_str(ANSWERS).unwrap();
    let class = |name: &str| match name {
        "error_throttling" | "throttling_user" | "throttling_with_header" => Some(RefusalClass::Throttled),
        "error_conflict" => Some(RefusalClass::Conflict),
        "signature_mismatch" => Some(RefusalClass::Credential),
        "service_unavailable" | "internal_error" => Some(RefusalClass::Unavailable),
        error if error.starts_with("error_") || error == "idempotent_mismatch" => Some(RefusalClass::Final),
        _ => None,
    };
    assert_eq!(answers.len(), 27);
    for (name, row) in &answers {
        let status = u16::try_from(row["status"].as_u64().unwrap()).unwrap();
        let result = check(&answer(status, &[], &row["body"].to_string()), &Parameters::new());
        assert_eq!(
            result.as_ref().err().map(|refusal| refusal.class),
            class(name),
            "{name}"
        );
        if let Err(refusal) = result {
            assert_eq!(Some(refusal.code.as_str()), row["body"]["Code"].as_str(), "{name}");
            assert_eq!(
                refusal.request_id.as_deref(),
                row["body"]["RequestId"].as_str(),
                "{name}"
            );
        }
    }
}

#[test]
fn the_code_decides_and_not_the_status() {
    for status in [200, 400, 403, 500, 503] {
        let body = r#"{"RequestId":"r","Code":"QuotaExceeded","Message":"full"}"#;
        assert_eq!(refused(status, &[], body).class, RefusalClass::Final, "{status}");
        let body = r#"{"RequestId":"r","Code":"Throttling.Api","Message":"slow down"}"#;
        assert_eq!(refused(status, &[], body).class, RefusalClass::Throttled, "{status}");
    }
}

#[test]
fn both_spellings_and_xml() {
    for (name, body) in [
        (
            "capital",
            r#"{"RequestId":"r1","HostId":"h","Code":"IncorrectStatus","Message":"not < now"}"#,
        ),
        (
            "small",
            r#"{"requestId":"r1","code":"IncorrectStatus","message":"not < now"}"#,
        ),
        (
            "xml",
            "<?xml version='1.0' encoding='UTF-8'?>\n<Error><RequestId>r1</RequestId><HostId>h</HostId><Code>IncorrectStatus</Code><Message>not &lt; now</Message></Error>",
        ),
        (
            "xml without declaration",
            "<Error>\n <Code>IncorrectStatus</Code>\n <Message>not &lt; now</Message>\n <RequestId>r1</RequestId>\n</Error>",
        ),
    ] {
        let refusal = refused(400, &[], body);
        assert_eq!(refusal.code, "IncorrectStatus", "{name}");
        assert_eq!(refusal.message, "not < now", "{name}");
        assert_eq!(refusal.request_id.as_deref(), Some("r1"), "{name}");
    }
    assert_eq!(unescape("&amp;lt; &quot;&apos;&gt;"), "&lt; \"'>");
}

#[test]
fn an_answer_of_something_else() {
    for (name, status, body, class, code) in [
        ("empty", 200, "", RefusalClass::Undecodable, "HTTP 200"),
        (
            "a page",
            200,
            "<html>log in</html>",
            RefusalClass::Undecodable,
            "HTTP 200",
        ),
        (
            "cut",
            200,
            r#"{"RequestId":"r","Ima"#,
            RefusalClass::Undecodable,
            "HTTP 200",
        ),
        ("an array", 200, "[]", RefusalClass::Undecodable, "HTTP 200"),
        (
            "no request id",
            200,
            r#"{"ok":true}"#,
            RefusalClass::Undecodable,
            "HTTP 200",
        ),
        (
            "a gateway",
            502,
            "<html>bad gateway</html>",
            RefusalClass::Unavailable,
            "HTTP 502",
        ),
        ("a proxy", 403, "denied", RefusalClass::Final, "HTTP 403"),
        ("too many", 429, "", RefusalClass::Throttled, "HTTP 429"),
        ("a redirect", 302, "", RefusalClass::Final, "HTTP 302"),
    ] {
        let refusal = refused(status, &[], body);
        assert_eq!((refusal.class, refusal.code.as_str()), (class, code), "{name}");
        assert!(!refusal.message.is_empty(), "{name}");
    }
}

#[test]
fn headers_say_when_and_which() {
    let unknown = r#"{"Code":"Something.New","Message":"m"}"#;
    let headers = [("x-acs-retry-after", "1500"), ("x-acs-request-id", "from-header")];
    let refusal = refused(400, &headers, unknown);
    assert_eq!(refusal.class, RefusalClass::Throttled, "as the vendor's SDK has it");
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(1500)));
    assert_eq!(refusal.request_id.as_deref(), Some("from-header"));
    let known = r#"{"Code":"InvalidParameter","Message":"m"}"#;
    assert_eq!(
        refused(400, &headers, known).class,
        RefusalClass::Final,
        "a wrong parameter stays wrong"
    );
    for odd in ["0", "-1", "soon", ""] {
        assert_eq!(
            refused(400, &[("x-acs-retry-after", odd)], unknown).retry_after,
            None,
            "{odd}"
        );
    }
}

#[test]
fn a_denial_names_what_is_missing() {
    let body = json!({"RequestId": "r", "Code": "NoPermission", "Message": "denied",
        "AccessDeniedDetail": {"AuthAction": "eci:CreateImageCache", "PolicyType": "AccountLevelIdentityBasedPolicy", "EncodedDiagnosticMessage": "AAAA"}});
    let refusal = refused(403, &[], &body.to_string());
    assert_eq!(
        refusal.message,
        "denied (AuthAction eci:CreateImageCache, PolicyType AccountLevelIdentityBasedPolicy)"
    );
}

#[test]
fn a_message_repeats_no_secret() {
    let password = "p@ss w0rd%";
    let mut parameters = Parameters::new();
    parameters.set("ImageRegistryCredential.1.Password", password);
    parameters.set("ImageRegistryCredential.2.Password", "");
    let encoded = params::encode(password);
    let text = format!(
        "bad value {password}, sent as {encoded} or {}",
        encoded.replace("%20", "+")
    );
    for (code, message) in [
        (
            "InvalidParameter.ImageRegistryCredential",
            "bad value …, sent as … or …",
        ),
        (
            "SignatureDoesNotMatch",
            "the signature is wrong, so the access key secret is",
        ),
    ] {
        let body = json!({"RequestId": "r", "Code": code, "Message": text}).to_string();
        let refusal = check(&answer(400, &[], &body), &parameters).unwrap_err();
        assert_eq!(refusal.message, message, "{code}");
    }
}

#[test]
fn long_messages_are_cut() {
    let body = json!({"RequestId": "r", "Code": "X", "Message": "ü".repeat(2000)}).to_string();
    assert!(refused(400, &[], &body).message.chars().count() < 600);
}
