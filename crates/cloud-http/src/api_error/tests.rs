//! What callers see of failed calls.

use imagecache_core::BoxError;

use super::*;

#[derive(Debug)]
struct Cloud;

impl Vendor for Cloud {
    const NAME: &'static str = "cloud";

    fn meaning(code: &str, _message: &str) -> Option<Meaning> {
        let table = [
            ("Known", Meaning::INVALID),
            ("Quota", Meaning::QUOTA),
            ("Stock", Meaning::STOCK),
        ];
        Meaning::of(code, &table)
    }
}

fn failed(problem: CallProblem) -> ApiError<Cloud> {
    let call = CallError {
        action: "CreateThing",
        attempts: 3,
        problem,
    };
    call.into()
}

fn refused(class: RefusalClass, code: &str) -> ApiError<Cloud> {
    failed(refusal(class, code, None))
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
fn only_what_is_certain_did_nothing() {
    use RefusalClass::{ClockSkew, Conflict, Credential, Final, NonceUsed, Throttled, Unavailable, Undecodable};
    let host = || "h".to_owned();
    let cause = || "connection reset".into();
    let not_sent = CallProblem::NotSent {
        host: host(),
        source: cause(),
    };
    let no_answer = CallProblem::NoAnswer {
        host: host(),
        source: cause(),
    };
    for (name, error, certain) in [
        ("not sent", failed(not_sent), true),
        ("no request", failed(CallProblem::Request(cause())), true),
        ("no answer", failed(no_answer), false),
        ("throttled", refused(Throttled, "New"), true),
        ("conflict", refused(Conflict, "New"), true),
        ("nonce", refused(NonceUsed, "New"), true),
        ("clock", refused(ClockSkew, "New"), true),
        ("credential", refused(Credential, "New"), true),
        ("a known word", refused(Final, "Known"), true),
        ("an unknown word", refused(Final, "New"), false),
        ("in trouble", refused(Unavailable, "Known"), false),
        ("nonsense", refused(Undecodable, "HTTP 200"), false),
        ("an id that is none", ApiError::bad_id("CreateThing", "x"), false),
    ] {
        assert_eq!(error.did_nothing(), certain, "{name}");
    }
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
            refusal(Class::Final, "Quota", None),
            ErrorKind::QuotaExceeded,
            Some(120),
        ),
        (
            "stock",
            refusal(Class::Final, "Stock", None),
            ErrorKind::Unavailable,
            Some(300),
        ),
        (
            "what the service says wins",
            refusal(Class::Final, "Quota", Some(Duration::from_secs(7))),
            ErrorKind::QuotaExceeded,
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
        let error = Error::from(failed(problem));
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{name}");
    }
}

#[test]
fn the_text_names_action_code_and_cause_once() {
    let error = Error::from(refused(RefusalClass::Final, "Known"));
    assert_eq!(error.to_string(), "cloud.CreateThing: Known: m (invalid_spec)");
    assert_eq!(error.request_id(), Some("r-1"));
    let error = Error::from(failed(CallProblem::NotSent {
        host: "cloud.example.com".to_owned(),
        source: "connection refused".into(),
    }));
    assert_eq!(
        error.message(),
        "cloud.example.com cannot be reached: connection refused"
    );
}

#[test]
fn what_cannot_be_true_is_internal() {
    let action = "ListThings";
    for error in [
        ApiError::<Cloud>::endless_pages(action, 3),
        ApiError::bad_id(action, "x"),
    ] {
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(error.message().contains(action), "{error}");
    }
}
