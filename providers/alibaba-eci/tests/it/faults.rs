//! Calls that fail: what is tried again, and what users are told.

use std::time::Duration;

use imagecache_core::{CacheProvider as _, ErrorKind};
use imagecache_fakes::eci::Fault;

use crate::support::{Cloud, begin, key, spec};

const CREATE: &str = "CreateImageCache";
const DESCRIBE: &str = "DescribeImageCaches";
const DELETE: &str = "DeleteImageCache";

fn refuse(status: u16, code: &str, message: &str) -> Fault {
    Fault::Refuse {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_in_the_same_call() {
    for (action, fault) in [
        (CREATE, Fault::ServerErrorBefore),
        (CREATE, Fault::NoAnswerBefore),
        (CREATE, Fault::Throttled { retry_after_ms: None }),
        (
            CREATE,
            Fault::Throttled {
                retry_after_ms: Some(50),
            },
        ),
        (
            CREATE,
            refuse(400, "OperationConflict", "conflicts with an earlier request"),
        ),
        (DESCRIBE, Fault::ServerErrorBefore),
        (DESCRIBE, Fault::CutBody),
        (DESCRIBE, Fault::NoAnswer),
        (
            DESCRIBE,
            Fault::Throttled {
                retry_after_ms: Some(50),
            },
        ),
    ] {
        let cloud = Cloud::start().await;
        let provider = cloud.open();
        cloud.fake.inject(action, fault.clone(), 1);
        begin(&provider).await;
        assert_eq!(cloud.fake.calls(action), 2, "{action} {fault:?}");
        assert_eq!(cloud.fake.creations(), 1, "{action} {fault:?}");
    }
}

#[tokio::test]
async fn what_stays_wrong_is_asked_once() {
    for (code, status, kind) in [
        ("InvalidParameter.Image", 400, ErrorKind::InvalidSpec),
        ("NoPermission", 403, ErrorKind::PermissionDenied),
        ("Account.Arrearage", 400, ErrorKind::PermissionDenied),
        ("OperationDenied.NoStock", 403, ErrorKind::Unavailable),
        ("SomethingNew", 400, ErrorKind::Internal),
    ] {
        let cloud = Cloud::start().await;
        let provider = cloud.open();
        cloud.fake.inject(CREATE, refuse(status, code, "because"), 9);
        let error = provider.ensure(&key(&spec()), &spec()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.message().contains(code) && error.message().contains("because"),
            "{error}"
        );
        assert!(error.request_id().is_some(), "{code}");
        assert_eq!(cloud.fake.calls(CREATE), 1, "{code}");
    }
}

#[tokio::test]
async fn a_full_quota_says_how_full() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    begin(&provider).await;
    cloud.fake.set_quota(1);
    let mut other = spec();
    other.size_gib = 40;
    let error = provider.ensure(&key(&other), &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
    assert!(
        error.message().contains("1 of 1 image caches are used in cn-hangzhou"),
        "{error}"
    );
    // Without permission to read the quota, the vendor's text has to do.
    cloud.fake.inject("ListUsage", refuse(403, "NoPermission", "denied"), 1);
    let error = provider.ensure(&key(&other), &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(error.message().contains("QuotaExceeded"), "{error}");
}

#[tokio::test]
async fn deleting_what_the_service_does_not_know() {
    for refused in [false, true] {
        let cloud = Cloud::start().await;
        cloud.fake.refuse_unknown_deletes(refused);
        let provider = cloud.open();
        cloud.fake.set_visibility_lag(Duration::from_secs(10));
        let (key, _, state) = begin(&provider).await;
        // Somebody else removes it before it is listed: we still try.
        let other = cloud.open();
        cloud.fake.set_visibility_lag(Duration::ZERO);
        other.delete(&key).await.unwrap();
        provider
            .delete(&key)
            .await
            .unwrap_or_else(|error| panic!("{refused} {}: {error}", state.id));
    }
}

#[tokio::test]
async fn an_undocumented_refusal_to_delete_is_judged_by_what_is_left() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (key, _, _) = begin(&provider).await;
    cloud.fake.inject(DELETE, refuse(400, "SomethingNew", "no"), 1);
    let error = provider.delete(&key).await.unwrap_err();
    assert!(error.message().contains("SomethingNew"), "{error}");
    assert_eq!(cloud.fake.caches().len(), 1);
    provider.delete(&key).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 0);
}
