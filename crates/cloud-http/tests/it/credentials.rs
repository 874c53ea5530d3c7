//! The chain and its cache: one fetch however many wait, ahead of time, and never a flood.

use std::sync::Arc;
use std::time::Duration;

use imagecache_cloud_http::{CredentialError, CredentialSource, Credentials};
use jiff::SignedDuration;

use crate::support::{Load, SECRET, TOKEN, TestClock, TestSource, credential, numbered, start};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Longer than a failed fetch is remembered.
const QUIET: Duration = Duration::from_secs(6);

fn chain(sources: &[&TestSource], clock: &TestClock) -> Arc<Credentials> {
    let boxed = |source: &&TestSource| Box::new((*source).clone()) as Box<dyn CredentialSource>;
    Arc::new(Credentials::new(sources.iter().map(boxed).collect(), clock.clock()))
}

fn unavailable() -> CredentialError {
    CredentialError::Unavailable {
        name: "flaky".to_owned(),
        message: "no answer".to_owned(),
        source: Some("connection refused".into()),
    }
}

fn nothing(_: usize) -> Load {
    Ok(None)
}

/// The n-th lives n hours from the start.
fn hourly(number: usize) -> Load {
    Ok(Some(credential(
        &format!("id-{number}"),
        Some(start() + HOUR * number as i32),
    )))
}

async fn id(credentials: &Credentials) -> String {
    credentials.get().await.unwrap().id.clone()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_that_wait_share_one_fetch() {
    for failing in [false, true] {
        let source = if failing {
            TestSource::new("flaky", |_| Err(unavailable()))
        } else {
            numbered()
        };
        let credentials = chain(&[&source], &TestClock::new());
        let gate = source.gate.acquire().await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let credentials = Arc::clone(&credentials);
            tasks.spawn(async move { credentials.get().await });
        }
        // Every task has run up to where it waits.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(gate);
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                Ok(credential) => assert!(!failing && credential.id == "id-1"),
                Err(error) => {
                    assert!(failing);
                    let text = imagecache_core::chain(&error);
                    assert_eq!(text, "credential from flaky: no answer: connection refused");
                }
            }
        }
        assert_eq!(source.loads(), 1, "failing: {failing}");
    }
}

#[tokio::test(start_paused = true)]
async fn is_renewed_ahead_by_one_while_the_others_go_on() {
    let clock = TestClock::new();
    let source = TestSource::new("hourly", hourly);
    let credentials = chain(&[&source], &clock);
    assert_eq!(id(&credentials).await, "id-1");
    tokio::time::advance(QUIET).await;
    clock.set(start() + SignedDuration::from_mins(54));
    assert_eq!((id(&credentials).await.as_str(), source.loads()), ("id-1", 1));

    clock.set(start() + SignedDuration::from_mins(56));
    let gate = source.gate.acquire().await.unwrap();
    let renewing = {
        let credentials = Arc::clone(&credentials);
        tokio::spawn(async move { id(&credentials).await })
    };
    tokio::task::yield_now().await;
    for _ in 0..100 {
        assert_eq!(id(&credentials).await, "id-1");
    }
    drop(gate);
    assert_eq!(renewing.await.unwrap(), "id-2");
    assert_eq!((id(&credentials).await.as_str(), source.loads()), ("id-2", 2));
}

#[tokio::test(start_paused = true)]
async fn an_old_one_is_used_as_long_as_it_lives() {
    let clock = TestClock::new();
    let source = TestSource::new("flaky", |number| match number {
        1 => hourly(1),
        2 | 3 => Err(unavailable()),
        _ => hourly(number),
    });
    let credentials = chain(&[&source], &clock);
    assert_eq!(id(&credentials).await, "id-1");
    tokio::time::advance(QUIET).await;
    clock.set(start() + SignedDuration::from_mins(56));
    for _ in 0..50 {
        assert_eq!(id(&credentials).await, "id-1");
    }
    assert_eq!(source.loads(), 2, "a failed renewal is not repeated at once");
    clock.set(start() + HOUR);
    for _ in 0..50 {
        let error = credentials.get().await.unwrap_err();
        assert!(matches!(error, CredentialError::Unavailable { .. }), "{error:?}");
    }
    assert_eq!(source.loads(), 3, "nor is a failure");
    tokio::time::advance(QUIET).await;
    assert_eq!(id(&credentials).await, "id-4");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_gives_what_has_ended_is_not_asked_for_every_call() {
    // A service that renews late, or a clock that is ahead.
    let clock = TestClock::new();
    clock.set(start() + HOUR + HOUR);
    let source = TestSource::new("late", |_| hourly(1));
    let credentials = chain(&[&source], &clock);
    for _ in 0..100 {
        assert_eq!(id(&credentials).await, "id-1");
    }
    assert_eq!(source.loads(), 1);
    tokio::time::advance(QUIET).await;
    assert_eq!(id(&credentials).await, "id-1");
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_one_in_use_can_be_rejected_and_not_in_vain_for_ever() {
    let source = numbered();
    let credentials = chain(&[&source], &TestClock::new());
    let first = credentials.get().await.unwrap();
    credentials.rejected(&first);
    assert_eq!(id(&credentials).await, "id-2");
    credentials.rejected(&first);
    assert_eq!((id(&credentials).await.as_str(), source.loads()), ("id-2", 2));

    let source = TestSource::new("revoked", |_| Ok(Some(credential("same", None))));
    let credentials = chain(&[&source], &TestClock::new());
    for _ in 0..100 {
        let credential = credentials.get().await.unwrap();
        credentials.rejected(&credential);
    }
    assert_eq!(source.loads(), 2, "asking again brings the same");
    tokio::time::advance(QUIET).await;
    let credential = credentials.get().await.unwrap();
    credentials.rejected(&credential);
    credentials.get().await.unwrap();
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_first_that_has_something_is_kept_to() {
    let clock = TestClock::new();
    let empty = TestSource::new("empty", nothing);
    let once = TestSource::new("once", |number| if number == 1 { hourly(1) } else { Ok(None) });
    let other = numbered();
    let credentials = chain(&[&empty, &once, &other], &clock);
    let first = credentials.get().await.unwrap();
    credentials.rejected(&first);
    let error = credentials.get().await.unwrap_err();
    assert_eq!(error.to_string(), "credential from once: it has no credential any more");
    assert_eq!(
        (empty.loads(), once.loads(), other.loads()),
        (1, 2, 0),
        "no other identity in silence"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_and_broken_stops_the_chain() {
    let broken = TestSource::new("broken", |_| {
        Err(CredentialError::Invalid {
            name: "broken".to_owned(),
            message: "no such profile".to_owned(),
            source: None,
        })
    });
    let other = numbered();
    let error = chain(&[&broken, &other], &TestClock::new()).get().await.unwrap_err();
    assert!(matches!(error, CredentialError::Invalid { .. }), "{error:?}");
    assert_eq!(other.loads(), 0);
}

#[tokio::test(start_paused = true)]
async fn says_where_it_looked() {
    let (one, two) = (
        TestSource::new("environment", nothing),
        TestSource::new("profile", nothing),
    );
    let credentials = chain(&[&one, &two], &TestClock::new());
    let error = credentials.get().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no credential found, looked in: environment, profile"
    );
    credentials.get().await.unwrap_err();
    assert_eq!(one.loads(), 1, "remembered for a while");
    tokio::time::advance(QUIET).await;
    credentials.get().await.unwrap_err();
    assert_eq!(one.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up() {
    let source = numbered();
    let _gate = source.gate.acquire().await.unwrap();
    let error = chain(&[&source], &TestClock::new()).get().await.unwrap_err();
    assert_eq!(error.to_string(), "credential from numbered: no answer within 30 s");
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let credentials = chain(&[&numbered()], &TestClock::new());
    let credential = credentials.get().await.unwrap();
    let text = format!("{credentials:?} {credential:?}");
    assert!(!text.contains(SECRET) && !text.contains(TOKEN), "{text}");
}
