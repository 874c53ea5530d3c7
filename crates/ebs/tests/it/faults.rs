//! What goes wrong on the way: it ends well, or with one clear message, and never with a wrong byte.

use std::time::Duration;

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
    }
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
