//! What goes wrong when a test wants it to.

use std::time::{Duration, Instant};

use aws_sdk_ebs::error::SdkError;
use imagecache_fakes::ebs::{Fault, Throttle};
use tokio::time::timeout;

use super::support::{Account, PATIENCE, put, refusal};

const PUT: &str = "PutSnapshotBlock";

#[tokio::test]
async fn refusals_have_the_services_names() {
    let account = Account::new().await;
    let id = account.start(1).await;
    let throttled = |throttle| Fault::Throttled(throttle);
    let timed_out = Fault::Refuse {
        status: 400,
        code: "ValidationException".to_owned(),
        reason: Some("WRITE_REQUEST_TIMEOUT".to_owned()),
    };
    for (fault, status, code, reason) in [
        (
            throttled(Throttle::Account),
            400,
            "RequestThrottledException",
            "ACCOUNT_THROTTLED",
        ),
        (
            throttled(Throttle::Resource),
            400,
            "RequestThrottledException",
            "RESOURCE_LEVEL_THROTTLE",
        ),
        (
            throttled(Throttle::Dependency),
            400,
            "RequestThrottledException",
            "DEPENDENCY_REQUEST_THROTTLED",
        ),
        (throttled(Throttle::Generic), 400, "ThrottlingException", ""),
        (Fault::ServerError(500), 500, "InternalServerException", ""),
        (Fault::ServerErrorAfter, 500, "InternalServerException", ""),
        (Fault::NotFound, 404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"),
        (
            Fault::AccessDenied,
            403,
            "AccessDeniedException",
            "UNAUTHORIZED_ACCOUNT",
        ),
        (
            Fault::Quota,
            402,
            "ServiceQuotaExceededException",
            "DEPENDENCY_SERVICE_QUOTA_EXCEEDED",
        ),
        (timed_out, 400, "ValidationException", "WRITE_REQUEST_TIMEOUT"),
    ] {
        account.fake.inject(PUT, fault.clone(), 1);
        let refused = put(&account.client, &id, 0, 1).await.unwrap_err();
        assert_eq!(
            refusal(refused),
            (status, code.to_owned(), reason.to_owned()),
            "{fault:?}"
        );
        account.put(&id, 0, 1).await;
    }
}

#[tokio::test]
async fn broken_answers_come_after_the_effect_or_before_it() {
    for (fault, accepted) in [
        (Fault::Reset, 0),
        (Fault::ServerError(503), 0),
        (Fault::LostAnswer, 1),
        (Fault::CutBody, 1),
        (Fault::ServerErrorAfter, 1),
    ] {
        let account = Account::new().await;
        let id = account.start(1).await;
        account.fake.inject(PUT, fault.clone(), 1);
        let error = put(&account.client, &id, 0, 1).await.unwrap_err();
        let answered = matches!(error, SdkError::ServiceError(_));
        let expected = matches!(fault, Fault::ServerError(_) | Fault::ServerErrorAfter);
        assert_eq!(answered, expected, "{fault:?}: {error:?}");
        let puts = account.fake.snapshot(&id).unwrap().puts;
        let puts = puts.get(&0).copied().unwrap_or_default();
        assert_eq!((puts.accepted, puts.acknowledged), (accepted, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn answers_can_lie() {
    let account = Account::new().await;
    let id = account.start(1).await;
    account.fake.inject(PUT, Fault::WrongChecksum, 1);
    let lied = put(&account.client, &id, 0, 1).await.unwrap();
    let told = put(&account.client, &id, 0, 1).await.unwrap();
    assert_ne!(lied.checksum(), told.checksum());
    assert_eq!(account.fake.snapshot(&id).unwrap().puts[&0].acknowledged, 1);
    account.complete(&id, &[(0, 1)]).await;
    let page = account
        .client
        .list_snapshot_blocks()
        .snapshot_id(&id)
        .send()
        .await
        .unwrap();
    account.fake.inject("GetSnapshotBlock", Fault::WrongBytes, 1);
    let call = account.client.get_snapshot_block().snapshot_id(&id).block_index(0);
    let got = call
        .block_token(page.blocks()[0].block_token().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(got.checksum(), told.checksum());
    assert_eq!(got.block_data.collect().await.unwrap().into_bytes().last(), Some(&0));
}

#[tokio::test]
async fn a_call_may_never_be_answered() {
    let account = Account::new().await;
    let id = account.start(1).await;
    account.fake.inject(PUT, Fault::NoAnswer, 1);
    let call = put(&account.client, &id, 0, 1);
    assert!(timeout(Duration::from_millis(300), call).await.is_err());
    assert_eq!((account.fake.calls(PUT), account.fake.bytes()), (1, 0));
    timeout(PATIENCE, put(&account.client, &id, 0, 1))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn faults_can_meet_one_call_in_so_many() {
    let account = Account::new().await;
    let id = account.start(1).await;
    account.fake.inject_every(PUT, Fault::AccessDenied, 3);
    let mut results = Vec::new();
    for index in 0..7 {
        results.push(put(&account.client, &id, index, 0).await.is_ok());
    }
    assert_eq!(results, [true, true, false, true, true, false, true]);
    account.fake.heal();
    for index in 0..3 {
        account.put(&id, index, 0).await;
    }
}

#[tokio::test]
async fn a_new_snapshot_is_not_known_everywhere() {
    let account = Account::new().await;
    account.fake.set_start_lag(Duration::from_secs(56));
    let id = account.start(1).await;
    let early = put(&account.client, &id, 0, 1).await.unwrap_err();
    assert_eq!(refusal(early).2, "SNAPSHOT_NOT_FOUND");
    let (_, xml) = account
        .ec2(&[("Action", "DescribeSnapshots"), ("Owner.1", "self")])
        .await;
    assert!(!xml.contains(&id), "{xml}");
    account.fake.advance(Duration::from_secs(57));
    account.put(&id, 0, 1).await;
}

#[tokio::test]
async fn calls_take_time_and_too_many_are_throttled() {
    let account = Account::new().await;
    let id = account.start(1).await;
    account.fake.set_latency(PUT, Duration::from_millis(100));
    let started = Instant::now();
    account.put(&id, 0, 1).await;
    assert!(started.elapsed() >= Duration::from_millis(100));
    account.fake.set_latency(PUT, Duration::ZERO);
    account.fake.set_rate(PUT, Some(1));
    account.put(&id, 0, 1).await;
    let refused = refusal(put(&account.client, &id, 0, 1).await.unwrap_err());
    assert_eq!(refused.2, "ACCOUNT_THROTTLED");
    account.fake.set_rate(PUT, None);
    account.put(&id, 0, 1).await;
}
