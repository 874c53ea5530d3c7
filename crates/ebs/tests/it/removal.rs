//! What is deleted, and what is not.

use imagecache_blocks::{Published, SnapshotManifest};
use imagecache_fakes::ebs::Fault;

use crate::support::{StopAfter, Test};

fn left(test: &Test) -> Vec<String> {
    test.fake.snapshots().into_iter().map(|snapshot| snapshot.id).collect()
}

/// Three caches, each on top of the one before.
async fn lineage(test: &Test) -> Vec<(SnapshotManifest, Published)> {
    let mut made: Vec<(SnapshotManifest, Published)> = Vec::new();
    for (name, layers) in [
        ("app:1", &[(1, 4)][..]),
        ("app:2", &[(1, 4), (2, 1)]),
        ("app:3", &[(1, 4), (3, 1)]),
    ] {
        let below = made.last();
        let manifest = test.volume(layers, below.map(|(manifest, _)| manifest));
        let published = match below {
            Some((manifest_below, published)) => test.publish_on(name, &manifest, (manifest_below, published)).await,
            None => test.publish(name, &manifest).await.unwrap(),
        };
        test.ready(name, &manifest, &published);
        made.push((manifest, published));
    }
    made
}

#[tokio::test]
async fn a_parent_stays_until_its_last_descendant_goes() {
    let test = Test::start().await;
    let made = lineage(&test).await;
    let ids: Vec<String> = made.iter().map(|(_, published)| published.id.clone()).collect();
    for (name, gone, expected) in [
        ("nothing is gone", None, &ids[..]),
        ("the oldest", Some("app:1"), &ids[..]),
        ("the youngest", Some("app:3"), &ids[..2]),
        ("the last", Some("app:2"), &[]),
    ] {
        gone.into_iter().for_each(|gone| test.remove_record(gone));
        test.collect().await.unwrap();
        assert_eq!(left(&test), expected, "{name}");
    }
}

#[tokio::test]
async fn a_shared_snapshot_stays_until_both_caches_are_gone() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 4)], None);
    for name in ["app:1", "other:1"] {
        let published = test.publish(name, &manifest).await.unwrap();
        test.ready(name, &manifest, &published);
    }
    for (gone, expected) in [("app:1", 1), ("other:1", 0)] {
        test.remove_record(gone);
        test.collect().await.unwrap();
        assert_eq!(left(&test).len(), expected, "{gone}");
    }
}

#[tokio::test]
async fn only_what_is_ours_and_can_be_deleted_goes() {
    let test = Test::start().await;
    let made = lineage(&test).await;
    let foreign = test.fake.add_foreign_snapshot(&[
        ("imagecache.dev/managed-by", "imagecache"),
        ("imagecache.dev/owner", "another"),
    ]);
    let in_use = made[0].1.id.clone();
    test.fake.set_in_use(&in_use, true);
    for name in ["app:1", "app:2", "app:3"] {
        test.remove_record(name);
    }
    let collected = test.collected().await.unwrap();
    assert_eq!((collected.removed, collected.left), (2, 1));
    let mut kept = left(&test);
    kept.sort();
    let mut expected = vec![foreign, in_use];
    expected.sort();
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn what_a_dead_process_left_goes_and_a_missing_permission_is_named() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 4)], None);
    test.fake.inject_every("PutSnapshotBlock", Fault::AccessDenied, 1);
    test.publish("app:1", &manifest).await.unwrap_err();
    std::fs::remove_file(test.journal("app:1")).unwrap();
    test.fake.heal();
    test.fake.inject("DescribeSnapshots", Fault::AccessDenied, 1);
    let error = test.collect().await.unwrap_err();
    assert!(error.to_string().contains("ec2:DescribeSnapshots"), "{error}");
    assert_eq!(test.collect().await.unwrap(), 1);
    assert_eq!(left(&test), [""; 0]);
}

#[tokio::test]
async fn too_many_pending_snapshots_of_our_own_are_no_obstacle() {
    let test = Test::start().await;
    test.fake.set_pending_quota(1);
    let manifest = test.volume(&[(1, 4)], None);
    test.fake.inject_every("PutSnapshotBlock", Fault::AccessDenied, 1);
    test.publish("app:1", &manifest).await.unwrap_err();
    std::fs::remove_file(test.journal("app:1")).unwrap();
    test.fake.heal();
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "the second");
    assert_eq!(left(&test), [published.id]);
}

#[tokio::test]
async fn what_was_sent_for_a_build_that_failed_goes() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 4)], None);
    test.fake.inject_every("PutSnapshotBlock", Fault::AccessDenied, 1);
    test.publish("app:1", &manifest).await.unwrap_err();
    test.fake.heal();
    assert_eq!(test.collect().await.unwrap(), 0, "it goes on");
    test.fail("app:1");
    assert_eq!(test.collect().await.unwrap(), 1);
    assert!(!test.journal("app:1").exists());
}

#[tokio::test]
async fn the_journal_of_a_build_that_still_ends_is_left_alone() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 100)], None);
    test.restart(|config| config.blocks_per_second = 100);
    test.publish_watched("app:1", &manifest, None, StopAfter::blocks(5))
        .await
        .unwrap_err();
    let (journal, id) = (test.journal("app:1"), test.record("app:1").id);
    let lock = test.store.try_lock_cache(&id).unwrap().unwrap();
    test.remove_record("app:1");
    assert_eq!(test.collect().await.unwrap(), 0);
    assert!(journal.exists());
    drop(lock);
    assert_eq!(test.collect().await.unwrap(), 1);
    assert!(!journal.exists());
}
