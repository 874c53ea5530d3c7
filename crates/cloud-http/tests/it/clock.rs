//! A wrong clock is noticed, worked around, and named.

use imagecache_cloud_http::{CallProblem, RefusalClass};
use jiff::SignedDuration;

use crate::support::{LIST, Server, TestClock, client_with, config, numbered, ok, refusal, refusal_with, start};

const HOUR_LATER: [(&str, &str); 1] = [("date", "Fri, 02 Jan 2026 04:04:05 GMT")];

#[tokio::test]
async fn signs_with_the_service_s_time_once_it_is_known() {
    let server = Server::start(vec![refusal_with("clock", &HOUR_LATER), ok(), ok()]).await;
    let clock = TestClock::new();
    let client = client_with(format!("http://{}", server.address), config(), numbered(), &clock);
    client.call(&LIST).await.unwrap();
    clock.set(start() + SignedDuration::from_secs(10));
    client.call(&LIST).await.unwrap();
    assert_eq!(
        server.header("x-time"),
        ["2026-01-02T03:04:05Z", "2026-01-02T04:04:05Z", "2026-01-02T04:04:15Z"]
    );
}

#[tokio::test]
async fn follows_a_clock_that_is_set_right_again() {
    let right = [("date", "Fri, 02 Jan 2026 04:04:06 GMT")];
    let server = Server::start(vec![
        refusal_with("clock", &HOUR_LATER),
        ok(),
        refusal_with("clock", &right),
        ok(),
    ])
    .await;
    let clock = TestClock::new();
    let client = client_with(format!("http://{}", server.address), config(), numbered(), &clock);
    client.call(&LIST).await.unwrap();
    clock.set(start() + SignedDuration::from_secs(3601));
    client.call(&LIST).await.unwrap();
    assert_eq!(
        server.header("x-time")[2..],
        ["2026-01-02T05:04:06Z", "2026-01-02T04:04:06Z"]
    );
}

#[tokio::test]
async fn says_how_far_the_clock_is_off_when_that_does_not_help() {
    for (name, date, expected) in [
        (
            "behind",
            "Fri, 02 Jan 2026 04:04:05 GMT",
            "this machine's clock is 3600 s behind 127.0.0.1's; set it",
        ),
        (
            "ahead",
            "Fri, 02 Jan 2026 02:04:05 GMT",
            "this machine's clock is 3600 s ahead of 127.0.0.1's; set it",
        ),
    ] {
        let server = Server::start(vec![refusal_with("clock", &[("date", date)]); 3]).await;
        let clock = TestClock::new();
        let client = client_with(format!("http://{}", server.address), config(), numbered(), &clock);
        let error = client.call(&LIST).await.unwrap_err();
        assert_eq!(error.attempts, 2, "{name}");
        let text = imagecache_core::chain(&error);
        assert!(
            text.contains(expected) && text.contains("Code: clock"),
            "{name}: {text}"
        );
    }
}

#[tokio::test]
async fn does_not_blame_a_clock_that_is_right() {
    for (name, reply, attempts) in [
        ("no date", refusal("clock"), 1),
        (
            "same time",
            refusal_with("clock", &[("date", "Fri, 02 Jan 2026 03:04:06 GMT")]),
            2,
        ),
    ] {
        let server = Server::start(vec![reply; 3]).await;
        let clock = TestClock::new();
        let client = client_with(format!("http://{}", server.address), config(), numbered(), &clock);
        let error = client.call(&LIST).await.unwrap_err();
        assert_eq!(error.attempts, attempts, "{name}");
        let CallProblem::Refused(refusal) = error.problem else {
            panic!("{name}: {error:?}")
        };
        assert_eq!(refusal.class, RefusalClass::ClockSkew, "{name}");
    }
}
