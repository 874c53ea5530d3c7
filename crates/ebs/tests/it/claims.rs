//! Snapshots that one cache uses and another one made.

use std::time::Duration;

use imagecache_blocks::Published;

use crate::support::{StopAfter, Test};

const DESCRIBE: &str = "DescribeSnapshots";

#[tokio::test]
async fn a_cache_that_goes_while_its_snapshot_is_claimed_is_not_shared() {
    let test = std::sync::Arc::new(Test::start().await);
    let manifest = test.volume(&[(1, 5)], None);
    let one = test.publish("app:1", &manifest).await.unwrap();
    test.ready("app:1", &manifest, &one);
    test.fake.set_latency(DESCRIBE, Duration::from_millis(500));
    let looked = test.fake.calls(DESCRIBE);
    let (other, volume) = (std::sync::Arc::clone(&test), manifest.clone());
    let publishing = tokio::spawn(async move { other.publish("other:1", &volume).await.unwrap() });
    while test.fake.calls(DESCRIBE) == looked {
        tokio::task::yield_now().await;
    }
    test.remove_record("app:1");
    test.collect().await.unwrap();
    let two = publishing.await.unwrap();
    test.assert_equal(&two, &manifest, "its own");
    assert_ne!(two.id, one.id);
}

#[tokio::test]
async fn a_snapshot_that_only_a_record_remembers_costs_nothing_that_was_sent() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 100)], None);
    test.restart(|config| config.blocks_per_second = 100);
    test.publish_watched("app:1", &manifest, None, StopAfter::blocks(10))
        .await
        .unwrap_err();
    test.restart(|_| {});
    let gone = Published {
        id: "snap-0123456789abcdef0".to_owned(),
        volume_bytes: 1 << 30,
        parent: None,
        generation: 0,
    };
    test.ready("other:1", &manifest, &gone);
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "its own");
    assert_eq!(test.fake.started(), 1);
}

#[tokio::test]
async fn a_parent_whose_cache_is_gone_is_left_out() {
    let test = Test::start().await;
    let first = test.volume(&[(1, 5)], None);
    let one = test.publish("app:1", &first).await.unwrap();
    let second = test.volume(&[(1, 5), (2, 5)], Some(&first));
    // No record names the first.
    let two = test
        .publish_watched("app:2", &second, Some((&first, &one)), StopAfter::never())
        .await
        .unwrap();
    assert_eq!(two.parent, None);
    test.assert_equal(&two, &second, "alone");
}

#[tokio::test]
async fn what_is_not_encrypted_as_wanted_is_not_used() {
    let key = "arn:aws:kms:eu-central-1:123456789012:key/wanted";
    for (encrypted_before, wanted_key) in [(false, None), (false, Some(key)), (true, Some(key))] {
        is_replaced(encrypted_before, wanted_key).await;
    }
}

/// What was made before the configuration changed is not shared, not built upon and not gone on with.
async fn is_replaced(encrypted_before: bool, wanted_key: Option<&str>) {
    let mut test = Test::start().await;
    test.fake.set_encryption_by_default(encrypted_before);
    let first = test.volume(&[(1, 5)], None);
    let one = test.publish("app:1", &first).await.unwrap();
    test.ready("app:1", &first, &one);
    // One is under way as well.
    test.fake
        .inject_every("PutSnapshotBlock", imagecache_fakes::ebs::Fault::AccessDenied, 1);
    let third = test.volume(&[(3, 5)], None);
    test.publish("app:3", &third).await.unwrap_err();
    test.fake.heal();
    test.restart(|config| {
        config.encrypted = Some(true);
        config.kms_key = wanted_key.map(str::to_owned);
    });
    let shared = test.publish("other:1", &first).await.unwrap();
    let second = test.volume(&[(1, 5), (2, 5)], Some(&first));
    let child = test.publish_on("app:2", &second, (&first, &one)).await;
    let resumed = test.publish("app:3", &third).await.unwrap();
    for (name, published, manifest) in [
        ("shared", shared, &first),
        ("child", child, &second),
        ("resumed", resumed, &third),
    ] {
        let found = test.fake.snapshot(&published.id).unwrap();
        assert!(found.encrypted, "{name}");
        assert_eq!(found.kms_key.as_deref(), wanted_key, "{name}");
        assert_eq!(published.parent, None, "{name}");
        test.assert_equal(&published, manifest, name);
    }
}
