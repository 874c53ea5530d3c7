//! What goes wrong on purpose really goes wrong on the wire.

use std::time::Duration;

use imagecache_fakes::eci::{FakeEci, Fault, Pace};

use crate::support::{Caller, http};

const CREATE: &str = "CreateImageCache";
const MINIMAL: &[(&str, &str)] = &[("ImageCacheName", "demo"), ("Image.1", "nginx"), ("ClientToken", "tok")];

#[tokio::test]
async fn each_fault_shows_as_what_it_is() {
    let refuse = Fault::Refuse {
        status: 403,
        code: "OperationDenied.NoStock".to_owned(),
        message: "sold out".to_owned(),
    };
    // The fault, status and code or none, and whether there is a cache afterwards.
    let table = [
        (Fault::ServerErrorBefore, Some((503, "ServiceUnavailable")), false),
        (Fault::ServerErrorAfter, Some((500, "InternalError")), true),
        (Fault::NoAnswerBefore, None, false),
        (Fault::NoAnswer, None, true),
        (Fault::CutBody, None, true),
        (Fault::WrongJson, Some((200, "")), true),
        (
            Fault::Throttled {
                retry_after_ms: Some(1_500),
            },
            Some((400, "Throttling")),
            false,
        ),
        (refuse, Some((403, "OperationDenied.NoStock")), false),
    ];
    for (fault, expected, done) in table {
        let fake = FakeEci::start().await;
        let mut caller = Caller::new(&fake);
        fake.inject(CREATE, fault.clone(), 1);
        let answer = caller.try_eci(CREATE, MINIMAL).await;
        match (&answer, expected) {
            (Ok(answer), Some((status, code))) => {
                assert_eq!((answer.status, answer.code()), (status, code), "{fault:?}");
                assert_eq!(answer.body.is_null(), fault == Fault::WrongJson);
                assert_eq!(answer.retry_after.as_deref(), (code == "Throttling").then_some("1500"));
                assert_eq!(fake.rejected(code), usize::from(!code.is_empty()));
            }
            (Err(error), None) if fault == Fault::CutBody => {
                assert!(
                    !error.is_timeout() && (error.is_body() || error.is_decode()),
                    "{error:?}"
                );
            }
            (Err(error), None) => assert!(error.is_timeout(), "{fault:?}: {error:?}"),
            (answer, _) => panic!("{fault:?}: {answer:?}"),
        }
        assert_eq!(fake.creations(), usize::from(done), "{fault:?}");
        // Once only; and the same call again ends in one cache.
        caller.http = http();
        caller.eci(CREATE, MINIMAL).await.ok();
        assert_eq!((fake.creations(), fake.calls(CREATE)), (1, 2), "{fault:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_in_order_does_not_use_up_a_fault() {
    let fake = FakeEci::start().await;
    let mut caller = Caller::new(&fake);
    fake.inject(CREATE, Fault::ServerErrorBefore, 1);
    let secret = std::mem::replace(&mut caller.secret, "wrong".to_owned());
    assert_eq!(caller.eci(CREATE, MINIMAL).await.code(), "SignatureDoesNotMatch");
    caller.secret = secret;
    assert_eq!(caller.eci(CREATE, MINIMAL).await.status, 503);
    fake.inject(CREATE, Fault::ServerErrorBefore, 9);
    fake.heal();
    caller.eci(CREATE, MINIMAL).await.ok();
}

#[tokio::test]
async fn rates_are_kept_over_all_actions_and_for_one() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    fake.set_rate(Some(0));
    fake.set_retry_after_ms(Some(250));
    for action in ["ListUsage", "DescribeImageCaches"] {
        let answer = caller.eci(action, &[]).await;
        assert_eq!((answer.status, answer.code()), (400, "Throttling"));
        assert_eq!(answer.retry_after.as_deref(), Some("250"));
    }
    assert_eq!(fake.rejected("Throttling"), 2);
    fake.set_rate(None);
    fake.set_action_rate(CREATE, 2, Duration::from_secs(60));
    for expected in [200, 200, 400] {
        assert_eq!(caller.create("demo", &[]).await.status, expected);
    }
    caller.eci("ListUsage", &[]).await.ok();
    fake.age(Duration::from_secs(60));
    caller.create("demo", &[]).await.ok();
}

/// More calls than one mock server serves, on one connection after the other, and no slower at the end.
#[tokio::test]
async fn thousands_of_caches_and_calls() {
    let fake = FakeEci::start().await;
    let caller = Caller::new(&fake);
    let moment = Duration::from_millis(1);
    fake.set_pace(Pace::After {
        preparing: moment,
        creating: moment,
    });
    for number in 0..2_500 {
        caller.create(&format!("cache-{number}"), &[]).await.ok();
    }
    let mut seen = 0;
    let mut token = String::new();
    loop {
        let mut filter = vec![("Limit", "100")];
        if !token.is_empty() {
            filter.push(("NextToken", &token));
        }
        let answer = caller.eci("DescribeImageCaches", &filter).await.ok();
        seen += answer.body["ImageCaches"].as_array().unwrap().len();
        match answer.body["NextToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, 2_500);
    assert!(fake.rejections().is_empty(), "{:?}", fake.rejections());
}
