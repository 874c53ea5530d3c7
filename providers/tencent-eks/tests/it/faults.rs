//! Calls that fail: what is tried again, and what users are told.

use imagecache_core::{CacheProvider as _, ErrorKind};
use imagecache_fakes::tke::Fault;

use crate::support::{Cloud, begin, key, spec};

const CREATE: &str = "CreateImageCache";
const DESCRIBE: &str = "DescribeImageCaches";
const DELETE: &str = "DeleteImageCaches";

fn refuse(code: &str) -> Fault {
    Fault::Refuse {
        status: 200,
        code: code.to_owned(),
        message: "because".to_owned(),
    }
}

#[tokio::test]
async fn what_certainly_did_nothing_is_tried_again_in_the_same_call() {
    for (action, fault) in [
        (CREATE, Fault::Throttled { retry_after_ms: None }),
        (CREATE, refuse("RequestLimitExceeded.IPLimitExceeded")),
        (DESCRIBE, Fault::ServerErrorBefore),
        (DESCRIBE, Fault::CutBody),
        (DESCRIBE, Fault::NoAnswer),
        (DESCRIBE, refuse("InternalError.Db")),
    ] {
        let cloud = Cloud::start().await;
        let provider = cloud.open().await;
        cloud.fake.inject(action, fault.clone(), 1);
        let before = cloud.fake.calls(action);
        begin(&provider).await;
        assert_eq!(cloud.fake.calls(action) - before, 2, "{action} {fault:?}");
        assert_eq!(cloud.fake.creations(), 1, "{action} {fault:?}");
    }
}

#[tokio::test]
async fn what_stays_wrong_is_asked_once_and_called_what_it_is() {
    for (code, kind) in [
        ("InvalidParameter.SubnetNotExist", ErrorKind::InvalidSpec),
        ("InternalError.Param", ErrorKind::InvalidSpec),
        ("InternalError.CamNoAuth", ErrorKind::PermissionDenied),
        ("UnauthorizedOperation.CamNoAuth", ErrorKind::PermissionDenied),
        ("InternalError.TradeInsufficientBalance", ErrorKind::PermissionDenied),
        ("InternalError.QuotaMaxNodLimit", ErrorKind::QuotaExceeded),
        ("LimitExceeded", ErrorKind::QuotaExceeded),
        ("ResourcesSoldOut", ErrorKind::Unavailable),
        ("InvalidAction", ErrorKind::Unsupported),
    ] {
        let cloud = Cloud::start().await;
        let provider = cloud.open().await;
        cloud.fake.inject(CREATE, refuse(code), 1);
        let error = provider.ensure(&key(&spec()), &spec()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.message().contains(code) && error.message().contains("because"),
            "{error}"
        );
        assert!(error.request_id().is_some(), "{code}");
        assert_eq!(cloud.fake.calls(CREATE), 1, "{code}");
        // Nothing was done, so nothing has to be waited for.
        begin(&provider).await;
    }
}

#[tokio::test]
async fn caches_are_deleted_together_and_absent_ones_are_fine() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.open().await, cloud.open().await);
    cloud.fake.set_visibility_lag(std::time::Duration::from_secs(20));
    let (key, spec, first) = begin(&one).await;
    two.ensure(&key, &spec).await.unwrap();
    cloud.fake.set_visibility_lag(std::time::Duration::ZERO);
    assert_eq!(cloud.fake.caches().len(), 2);
    // The first answer is that one of them is not there: then they are asked for one by one.
    cloud.fake.inject(DELETE, refuse("ResourceNotFound"), 2);
    let deleted = one.delete(&key).await;
    assert_eq!(cloud.fake.calls(DELETE), 3, "{deleted:?} {first:?}");
    assert_eq!(cloud.fake.caches().len(), 1, "the fake lied about one");
    two.delete(&key).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 0);
}
