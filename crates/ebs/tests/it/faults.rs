//! What goes wrong on the way: it ends well, or with one clear message, and never with a wrong byte.

use std::time::Duration;

use imagecache_blocks::{UploadProgress, UploadWatch};
use imagecache_core::ErrorKind;
use imagecache_fakes::ebs::{Fault, Throttle};

use crate::support::Test;

const PUT: &str = "PutSnapshotBlock";
const START: &str = "StartSnapshot";
const COMPLETE: &str = "CompleteSnapshot";
const DESCRIBE: &str = "DescribeSnapshots";

fn refused(code: &str, reason: &str) -> Fault {
    Fault::Refuse {
        status: 400,
        code: code.to_owned(),
        reason: Some(reason.to_owned()),
    }
}

#[tokio::test]
async fn storms_pass() {
    for (name, action, fault, every) in [
        ("the account is throttled", PUT, Fault::Throttled(Throttle::Account), 3),
        (
            "the snapshot is throttled",
            PUT,
            Fault::Throttled(Throttle::Resource),
            3,
        ),
        ("throttled generically", PUT, Fault::Throttled(Throttle::Generic), 4),
        ("500", PUT, Fault::ServerError(500), 4),
        ("503", PUT, Fault::ServerError(503), 4),
        ("500, but all was done", PUT, Fault::ServerErrorAfter, 4),
        ("resets", PUT, Fault::Reset, 5),
        ("lost answers", PUT, Fault::LostAnswer, 5),
        ("wrong checksums in answers", PUT, Fault::WrongChecksum, 6),
        (
            "write timeouts",
            PUT,
            refused("ValidationException", "WRITE_REQUEST_TIMEOUT"),
            5,
        ),
        (
            "conflicts",
            PUT,
            refused("ValidationException", "CONFLICTING_BLOCK_UPDATE"),
            5,
        ),
        ("slow ones", PUT, Fault::Slow(Duration::from_secs(4)), 30),
        ("descriptions fail", DESCRIBE, Fault::ServerError(503), 2),
    ] {
        let test = Test::start().await;
        test.fake.inject_every(action, fault, every);
        let manifest = test.volume(&[(1, 60)], None);
        let published = test
            .publish("app:1", &manifest)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        test.assert_equal(&published, &manifest, name);
        assert_eq!(test.fake.started(), 1, "{name}");
    }
}

#[tokio::test]
async fn one_lost_answer_is_nothing() {
    for (name, action, fault) in [
        ("start", START, Fault::LostAnswer),
        ("start, 500 after", START, Fault::ServerErrorAfter),
        ("complete", COMPLETE, Fault::LostAnswer),
        ("complete, 500 after", COMPLETE, Fault::ServerErrorAfter),
        ("complete, cut", COMPLETE, Fault::CutBody),
    ] {
        let test = Test::start().await;
        test.fake.inject(action, fault, 1);
        let manifest = test.volume(&[(1, 4)], None);
        let published = test
            .publish("app:1", &manifest)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        test.assert_equal(&published, &manifest, name);
        assert_eq!(test.fake.started(), 1, "{name}");
    }
}

#[tokio::test]
async fn refusals_fail_at_once_and_say_what_to_do() {
    for (name, action, fault, kind, part) in [
        (
            "put denied",
            PUT,
            Fault::AccessDenied,
            ErrorKind::PermissionDenied,
            "ebs:PutSnapshotBlock",
        ),
        (
            "start denied",
            START,
            Fault::AccessDenied,
            ErrorKind::PermissionDenied,
            "ebs:StartSnapshot",
        ),
        (
            "complete denied",
            COMPLETE,
            Fault::AccessDenied,
            ErrorKind::PermissionDenied,
            "ebs:CompleteSnapshot",
        ),
        (
            "describe denied",
            DESCRIBE,
            Fault::AccessDenied,
            ErrorKind::PermissionDenied,
            "ec2:DescribeSnapshots",
        ),
        ("quota", START, Fault::Quota, ErrorKind::QuotaExceeded, "quota"),
        (
            "too many pending",
            START,
            Fault::ConcurrentLimit,
            ErrorKind::QuotaExceeded,
            "ConcurrentLimitExceeded",
        ),
    ] {
        let test = Test::start().await;
        test.fake.inject_every(action, fault, 1);
        let manifest = test.volume(&[(1, 4)], None);
        let begin = std::time::Instant::now();
        let error = test.publish("app:1", &manifest).await.expect_err(name);
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{name} took {:?}",
            begin.elapsed()
        );
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(part), "{name}: {error}");
        for secret in test.fake.secrets() {
            assert!(!error.to_string().contains(&secret), "{name}");
        }
        let done = test
            .fake
            .snapshots()
            .iter()
            .any(|snapshot| snapshot.status == "completed");
        assert_eq!(done, action == DESCRIBE, "{name}");
        test.fake.heal();
        let published = test.publish("app:1", &manifest).await.unwrap();
        test.assert_equal(&published, &manifest, name);
        assert_eq!(test.fake.started(), 1, "{name}: what was sent is kept");
    }
}

#[tokio::test]
async fn a_right_that_is_still_missing_is_told_at_once_by_every_attempt() {
    let test = Test::start().await;
    test.fake.inject_every(COMPLETE, Fault::AccessDenied, 1);
    let manifest = test.volume(&[(1, 4)], None);
    let begin = std::time::Instant::now();
    for _ in 0..3 {
        let error = test.publish("app:1", &manifest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let puts = test.fake.calls(PUT);
    test.fake.heal();
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "at last");
    assert_eq!((test.fake.started(), test.fake.calls(PUT)), (1, puts));
}

#[tokio::test]
async fn a_snapshot_that_does_not_hold_what_was_sent_is_made_anew_a_few_times() {
    for (times, works) in [(1, true), (2, true), (3, false)] {
        let test = Test::start().await;
        let refusal = refused("ValidationException", "INVALID_PARAMETER_VALUE");
        test.fake.inject(COMPLETE, refusal, times);
        let manifest = test.volume(&[(1, 4)], None);
        match test.publish("app:1", &manifest).await {
            Ok(published) => {
                assert!(works);
                test.assert_equal(&published, &manifest, "anew");
                assert_eq!(test.fake.started(), times + 1);
                test.ready("app:1", &manifest, &published);
                assert_eq!(test.collect().await.unwrap(), times);
            }
            Err(error) => {
                assert!(!works, "{error}");
                assert!(error.kind().is_transient(), "{error}");
                assert!(error.to_string().contains("ValidationException"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_block_that_is_refused_is_not_the_users_mistake() {
    let test = Test::start().await;
    test.fake
        .inject(PUT, refused("ValidationException", "INVALID_BLOCK"), 1);
    let manifest = test.volume(&[(1, 4)], None);
    let error = test.publish("app:1", &manifest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
}

/// Lets the snapshot time out in the middle of its upload.
struct TimeOut(std::sync::Arc<Test>, std::sync::atomic::AtomicBool);

impl UploadWatch for TimeOut {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn progress(&self, progress: UploadProgress) {
        if progress.done >= 5 && !self.1.swap(true, std::sync::atomic::Ordering::SeqCst) {
            self.0.fake.advance(Duration::from_secs(4 * 24 * 3600));
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_is_given_up_in_the_middle_is_started_anew() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 100)], None);
    test.restart(|config| config.blocks_per_second = 60);
    let test = std::sync::Arc::new(test);
    let watch = std::sync::Arc::new(TimeOut(std::sync::Arc::clone(&test), false.into()));
    let published = test.publish_watched("app:1", &manifest, None, watch).await.unwrap();
    test.assert_equal(&published, &manifest, "anew");
    assert_eq!(test.fake.started(), 2);
    assert!(test.fake.rejections().contains_key("ValidationException"));
}

#[tokio::test]
async fn what_a_fresh_snapshot_needs_may_be_unknown_for_a_while() {
    let test = Test::start().await;
    let unknown = Fault::Refuse {
        status: 404,
        code: "ResourceNotFoundException".to_owned(),
        reason: Some("GRANT_NOT_FOUND".to_owned()),
    };
    test.fake.inject(PUT, unknown, 3);
    let manifest = test.volume(&[(1, 4)], None);
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "late grant");
    assert_eq!(test.fake.started(), 1);
}

#[tokio::test]
async fn a_snapshot_is_fresh_from_when_it_was_started_not_from_when_it_was_planned() {
    let test = Test::start().await;
    test.fake.inject(START, Fault::AccessDenied, 1);
    let manifest = test.volume(&[(1, 4)], None);
    test.publish("app:1", &manifest).await.unwrap_err();
    // The right was missing for a year.
    let journal = test.journal("app:1");
    let text = std::fs::read_to_string(&journal).unwrap();
    let year = jiff::Timestamp::now().strftime("%Y").to_string();
    let (before, after) = text.split_once("\"started_at\":\"").unwrap();
    let earlier = after.replacen(&year, "2025", 1);
    std::fs::write(&journal, format!("{before}\"started_at\":\"{earlier}")).unwrap();
    test.fake.set_start_lag(Duration::from_secs(3));
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "late");
    assert_eq!(test.fake.started(), 1);
}

#[tokio::test]
async fn a_snapshot_that_is_not_known_everywhere_yet_is_waited_for() {
    let test = Test::start().await;
    test.fake.set_start_lag(Duration::from_secs(3));
    let manifest = test.volume(&[(1, 4)], None);
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "late");
    assert!(
        test.fake.rejections().contains_key("ResourceNotFoundException"),
        "{:?}",
        test.fake.rejections()
    );
}

#[tokio::test]
async fn completing_takes_its_time_and_may_fail() {
    let test = Test::start().await;
    test.fake.set_completion_lag(Duration::from_secs(2));
    test.fake.fail_next_completion("the key is gone");
    let manifest = test.volume(&[(1, 4)], None);
    let error = test.publish("app:1", &manifest).await.unwrap_err();
    assert!(error.to_string().contains("the key is gone"), "{error}");
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "the second");
    test.ready("app:1", &manifest, &published);
    assert_eq!(test.collect().await.unwrap(), 1);
    assert_eq!(test.fake.snapshots().len(), 1);
}

#[tokio::test]
async fn a_damaged_layer_is_not_sent() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 4)], None);
    let (part, _) = manifest.parts().next().unwrap();
    let path = test.store.part_path(&part);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[600_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = test.publish("app:1", &manifest).await.unwrap_err();
    assert!(error.to_string().contains(part.digest().hex()), "{error}");
    assert!(
        test.fake
            .snapshots()
            .iter()
            .all(|snapshot| snapshot.status == "pending")
    );
}
