//! Every row of the retry table, against a server.

use std::collections::BTreeSet;
use std::time::Duration;

use imagecache_cloud_http::{CallProblem, Cause, ClientConfig, RULES, Rate, RefusalClass};
use tokio::net::TcpListener;

use crate::support::{CREATE, LIST, Reply, Server, client, client_with, config, numbered, ok, refusal, refusal_with};

/// What the server does for a cause, and what becomes of calls that are repeatable and not.
struct Row {
    cause: Cause,
    reply: Reply,
    /// Requests that a call makes when the cause never ends and it may be sent five times; and a call that may not be
    /// repeated.
    repeatable: usize,
    once: usize,
}

fn rows() -> Vec<Row> {
    let row = |cause, reply, repeatable, once| Row {
        cause,
        reply,
        repeatable,
        once,
    };
    let refused = Cause::Refused;
    vec![
        row(Cause::NoAnswer, Reply::Cut, 3, 1),
        row(Cause::NoAnswer, Reply::Close, 3, 1),
        row(refused(RefusalClass::Throttled), refusal("throttled"), 3, 3),
        row(refused(RefusalClass::Unavailable), refusal("unavailable"), 3, 1),
        row(refused(RefusalClass::Conflict), refusal("conflict"), 3, 3),
        row(refused(RefusalClass::NonceUsed), refusal("nonce"), 4, 4),
        row(
            refused(RefusalClass::ClockSkew),
            refusal_with("clock", &[("date", "Fri, 02 Jan 2026 04:04:05 GMT")]),
            2,
            2,
        ),
        row(refused(RefusalClass::Credential), refusal("credential"), 2, 2),
        row(refused(RefusalClass::Undecodable), refusal("nonsense"), 1, 1),
        row(refused(RefusalClass::Final), refusal("final"), 1, 1),
    ]
}

fn cause_of(problem: &CallProblem) -> Cause {
    match problem {
        CallProblem::NotSent { .. } => Cause::NotSent,
        CallProblem::NoAnswer { .. } => Cause::NoAnswer,
        CallProblem::Refused(refusal) | CallProblem::ClockSkew { refusal, .. } => Cause::Refused(refusal.class),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_row_repeats_what_it_may_as_often_as_it_may() {
    let tested: BTreeSet<String> = rows().iter().map(|row| format!("{:?}", row.cause)).collect();
    for rule in RULES {
        let name = format!("{:?}", rule.cause);
        assert!(
            tested.contains(&name) || rule.cause == Cause::NotSent,
            "{name} has no test"
        );
    }
    let mut tasks = tokio::task::JoinSet::new();
    for row in rows() {
        for (call, expected) in [(LIST, row.repeatable), (CREATE, row.once)] {
            let (cause, reply) = (row.cause, row.reply.clone());
            tasks.spawn(async move {
                let name = format!("{cause:?} {:?}", call.effect);
                // Back-off takes its time: three attempts show as much as five.
                let attempts = if expected == 4 { 4 } else { 3 };
                let server = Server::start(vec![reply.clone(); 5]).await;
                let error = client(&server, ClientConfig { attempts, ..config() })
                    .call(&call)
                    .await
                    .unwrap_err();
                assert_eq!(server.received().len(), expected, "{name}");
                assert_eq!(error.attempts as usize, expected, "{name}");
                assert_eq!(cause_of(&error.problem), cause, "{name}");

                let server = Server::start(vec![reply, ok()]).await;
                let outcome = client(&server, config()).call(&call).await;
                assert_eq!(outcome.is_ok(), expected > 1, "{name}: {outcome:?}");
                // Signed anew: no nonce was there before.
                let nonces: BTreeSet<String> = server.header("x-nonce").into_iter().collect();
                assert_eq!(nonces.len(), server.received().len(), "{name}");
                for nonce in nonces {
                    assert!(
                        nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()),
                        "{nonce}"
                    );
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn what_was_not_sent_is_sent_again_whatever_it_does() {
    // Nobody listens on the port of a listener that is gone.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let clock = crate::support::TestClock::new();
    let client = client_with(
        endpoint,
        ClientConfig {
            attempts: 2,
            ..config()
        },
        numbered(),
        &clock,
    );
    let error = client.call(&CREATE).await.unwrap_err();
    assert_eq!(error.attempts, 2);
    assert_eq!(cause_of(&error.problem), Cause::NotSent);
    let text = imagecache_core::chain(&error);
    assert!(
        text.contains("127.0.0.1 cannot be reached") && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn silence_ends_with_the_attempt_and_counts_as_no_answer() {
    for (call, attempts) in [(LIST, 2), (CREATE, 1)] {
        let server = Server::start(vec![Reply::Silence; 2]).await;
        let limits = ClientConfig {
            attempt_timeout: Duration::from_millis(100),
            attempts: 2,
            ..config()
        };
        let error = client(&server, limits).call(&call).await.unwrap_err();
        assert_eq!(error.attempts, attempts, "{call:?}");
        assert_eq!(cause_of(&error.problem), Cause::NoAnswer, "{call:?}");
        let text = imagecache_core::chain(&error);
        assert!(text.contains("nothing complete within 100 ms"), "{text}");
    }
}

#[tokio::test]
async fn the_whole_call_has_a_limit_too() {
    let server = Server::start(vec![Reply::Silence; 5]).await;
    let limits = ClientConfig {
        attempt_timeout: Duration::from_secs(60),
        total_timeout: Duration::from_millis(300),
        ..config()
    };
    let error = client(&server, limits).call(&LIST).await.unwrap_err();
    assert_eq!(error.attempts, 1);
    assert_eq!(cause_of(&error.problem), Cause::NoAnswer);
}

#[tokio::test]
async fn waits_as_long_as_asked() {
    let mut tasks = tokio::task::JoinSet::new();
    for (name, headers, at_least) in [
        ("seconds", vec![("retry-after", "1")], 1000),
        ("own header", vec![("x-retry-after-ms", "700")], 700),
        (
            "the longer: own",
            vec![("retry-after", "0"), ("x-retry-after-ms", "700")],
            700,
        ),
        (
            "the longer: standard",
            vec![("retry-after", "1"), ("x-retry-after-ms", "10")],
            1000,
        ),
        (
            "date",
            vec![
                ("retry-after", "Fri, 02 Jan 2026 03:04:06 GMT"),
                ("date", "Fri, 02 Jan 2026 03:04:05 GMT"),
            ],
            1000,
        ),
    ] {
        for class in ["throttled", "unavailable"] {
            let headers = headers.clone();
            tasks.spawn(async move {
                let server = Server::start(vec![refusal_with(class, &headers), ok()]).await;
                client(&server, config()).call(&LIST).await.unwrap();
                let received = server.received();
                let wait = received[1].at - received[0].at;
                assert!(wait >= Duration::from_millis(at_least), "{name} {class}: {wait:?}");
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_beyond_the_limit_goes_to_the_caller() {
    for class in ["throttled", "unavailable", "conflict", "final"] {
        let server = Server::start(vec![refusal_with(class, &[("retry-after", "3600")]), ok()]).await;
        let error = client(&server, config()).call(&LIST).await.unwrap_err();
        assert_eq!(error.attempts, 1, "{class}");
        let CallProblem::Refused(refusal) = error.problem else {
            panic!("{class}: {error:?}")
        };
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(3600)), "{class}");
        assert_eq!(refusal.request_id.as_deref(), Some("request-1"), "{class}");
    }
}

#[tokio::test]
async fn throttling_holds_the_other_calls_of_the_action_back() {
    let server = Server::start(vec![
        refusal_with("throttled", &[("retry-after", "3600")]),
        ok(),
        refusal_with("throttled", &[("x-retry-after-ms", "900")]),
        ok(),
        ok(),
    ])
    .await;
    let limits = ClientConfig {
        total_timeout: Duration::from_secs(2),
        rates: [("ListThings".to_owned(), Rate::per_second(5))].into(),
        ..config()
    };
    let client = client(&server, limits);
    // The pause of one action leaves another alone.
    client.call(&CREATE).await.unwrap_err();
    client.call(&LIST).await.unwrap();
    let (one, two) = tokio::join!(client.call(&LIST), client.call(&LIST));
    one.unwrap();
    two.unwrap();
    let received = server.received();
    let wait = received[3].at - received[2].at;
    assert!(wait >= Duration::from_millis(850), "{wait:?}");
}

#[tokio::test]
async fn a_rejected_credential_is_replaced_once() {
    let server = Server::start(vec![refusal("credential"), ok()]).await;
    client(&server, config()).call(&CREATE).await.unwrap();
    assert_eq!(server.header("x-id"), ["id-1", "id-2"]);
}
