//! What callers see of failed calls.

use std::time::Duration;

use imagecache_cloud_http::{CallError, CallProblem, CredentialError, Refusal, RefusalClass};
use imagecache_core::{BoxError, Error, ErrorKind};

use super::*;

fn failed(problem: CallProblem) -> Error {
    Error::from(ApiError::from(CallError {
        action: "CreateImageCache",
        attempts: 3,
        problem,
    }))
}

fn refusal(class: RefusalClass, code: &str, retry_after: Option<Duration>) -> CallProblem {
    CallProblem::Refused(Refusal {
        class,
        code: code.to_owned(),
        message: "m".to_owned(),
        request_id: Some("r-1".to_owned()),
        retry_after,
    })
}

#[test]
fn every_problem_has_its_kind() {
    use RefusalClass as Class;
    let io = || BoxError::from("connection refused");
    let host = || "h".to_owned();
    for (name, problem, kind, wait) in [
        (
            "no credential",
            CallProblem::Credential(CredentialError::NotFound("x".to_owned())),
            ErrorKind::Unauthenticated,
            None,
        ),
        (
            "credential service down",
            CallProblem::Credential(CredentialError::Unavailable {
                name: "x".to_owned(),
                message: "m".to_owned(),
                source: None,
            }),
            ErrorKind::Unavailable,
            None,
        ),
        ("no request", CallProblem::Request(io()), ErrorKind::Internal, None),
        (
            "not sent",
            CallProblem::NotSent {
                host: host(),
                source: io(),
            },
            ErrorKind::Unavailable,
            None,
        ),
        (
            "no answer",
            CallProblem::NoAnswer {
                host: host(),
                source: io(),
            },
            ErrorKind::Unavailable,
            None,
        ),
        (
            "the table",
            refusal(Class::Final, "QuotaExceeded", None),
            ErrorKind::QuotaExceeded,
            Some(120),
        ),
        (
            "stock",
            refusal(Class::Final, "OperationDenied.NoStock", None),
            ErrorKind::Unavailable,
            Some(300),
        ),
        (
            "what the service says wins",
            refusal(Class::Throttled, "Throttling", Some(Duration::from_secs(7))),
            ErrorKind::RateLimited,
            Some(7),
        ),
        (
            "unknown 4xx",
            refusal(Class::Final, "New", None),
            ErrorKind::Internal,
            None,
        ),
        (
            "unknown 5xx",
            refusal(Class::Unavailable, "New", None),
            ErrorKind::Unavailable,
            None,
        ),
        (
            "a proxy's page",
            refusal(Class::Undecodable, "HTTP 200", None),
            ErrorKind::Unavailable,
            None,
        ),
        (
            "unknown, throttled",
            refusal(Class::Throttled, "New", None),
            ErrorKind::RateLimited,
            None,
        ),
        (
            "unknown conflict",
            refusal(Class::Conflict, "New", None),
            ErrorKind::Conflict,
            None,
        ),
    ] {
        let error = failed(problem);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{name}");
    }
}

#[test]
fn the_text_names_action_code_and_cause_once() {
    let error = failed(refusal(RefusalClass::Final, "NoPermission", None));
    assert_eq!(
        error.to_string(),
        "alibaba-eci.CreateImageCache: NoPermission: m (permission_denied)"
    );
    assert_eq!(error.request_id(), Some("r-1"));
    let error = failed(CallProblem::NotSent {
        host: "eci.example.com".to_owned(),
        source: "connection refused".into(),
    });
    assert_eq!(error.message(), "eci.example.com cannot be reached: connection refused");
}

#[test]
fn what_cannot_be_true_is_internal() {
    let action = "DescribeImageCaches";
    for error in [ApiError::endless_pages(action, 3), ApiError::bad_id(action, "x")] {
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(error.message().contains(action), "{error}");
    }
}
