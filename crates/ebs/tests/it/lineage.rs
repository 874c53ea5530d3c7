//! What is sent: all of a first volume, and the difference afterwards.

use imagecache_fakes::ebs::SnapshotView;

use crate::support::{Test, cache_id};

fn sent(snapshot: &SnapshotView) -> usize {
    snapshot.puts.values().map(|puts| puts.accepted).sum()
}

#[tokio::test]
async fn a_first_volume_arrives_whole_and_says_what_it_is() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 20), (2, 3)], None);
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "first");
    let snapshot = test.fake.snapshot(&published.id).unwrap();
    let mapped: u64 = manifest.extents.iter().map(|extent| extent.blocks).sum();
    assert_eq!(sent(&snapshot) as u64, mapped + 1, "what files use, and the last block");
    assert!(snapshot.blocks.contains(&2047), "the end of the GiB");
    assert_eq!(
        (snapshot.gib, snapshot.parent, published.volume_bytes),
        (1, None, 1 << 30)
    );
    let (id, owner) = (cache_id(&test, "app:1"), test.store.identity().unwrap());
    for (tag, value) in [
        ("imagecache.dev/managed-by", "imagecache"),
        ("imagecache.dev/owner", owner.as_str()),
        ("imagecache.dev/cache", id.as_str()),
        ("imagecache.dev/manifest", manifest.id.as_str()),
        ("imagecache.dev/upload", snapshot.client_token.as_deref().unwrap()),
    ] {
        let found = snapshot.tags.iter().find(|(key, _)| key == tag);
        assert_eq!(found.map(|(_, value)| value.as_str()), Some(value), "{tag}");
    }
    assert!(snapshot.client_token.unwrap().len() <= 64);
    assert!(snapshot.description.unwrap().contains("app:1"));
}

#[tokio::test]
async fn only_the_difference_is_sent_along_a_lineage() {
    for encrypted in [false, true] {
        let test = Test::start().await;
        test.fake.set_encryption_by_default(encrypted);
        let first = test.volume(&[(1, 60), (2, 20), (0, 5)], None);
        let mut below = (first.clone(), test.publish("app:1", &first).await.unwrap());
        test.assert_equal(&below.1, &first, "first");
        for (name, layers, most) in [
            ("a small layer is added", &[(1, 60), (2, 20), (0, 5), (3, 2)][..], 4),
            ("a layer goes, and leaves zeros", &[(1, 60), (0, 5), (3, 2)], 23),
            (
                "a small one takes part of its place",
                &[(1, 60), (0, 5), (3, 2), (4, 8)],
                10,
            ),
            (
                "the first layer comes back",
                &[(1, 60), (2, 20), (3, 2), (0, 5), (4, 8)],
                22,
            ),
        ] {
            let manifest = test.volume(layers, Some(&below.0));
            let published = test.publish_on("app:2", &manifest, (&below.0, &below.1)).await;
            test.assert_equal(&published, &manifest, name);
            let snapshot = test.fake.snapshot(&published.id).unwrap();
            assert_eq!(snapshot.parent.as_ref(), Some(&below.1.id), "{name}");
            assert_eq!(snapshot.encrypted, encrypted, "{name}");
            assert!(sent(&snapshot) <= most, "{name}: {} blocks", sent(&snapshot));
            assert_eq!(published.generation, below.1.generation + 1, "{name}");
            below = (manifest, published);
        }
    }
}

#[tokio::test]
async fn a_larger_volume_on_top_of_a_smaller_one_grows() {
    let test = Test::start().await;
    let first = test.far_volume(1, 10);
    let one = test.publish("app:1", &first).await.unwrap();
    let second = test.far_volume(2, 2_100);
    let two = test.publish_on("app:2", &second, (&first, &one)).await;
    assert_eq!((one.volume_bytes, two.volume_bytes), (1 << 30, 2 << 30));
    test.assert_equal(&two, &second, "grown");
    let third = test.far_volume(3, 10);
    let three = test.publish_on("app:3", &third, (&second, &two)).await;
    assert_eq!(three.volume_bytes, 2 << 30, "a device never shrinks along a lineage");
    test.assert_equal(&three, &third, "back");
}

#[tokio::test]
async fn equal_volumes_of_two_caches_are_one_snapshot() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 5)], None);
    let one = test.publish("app:1", &manifest).await.unwrap();
    test.ready("app:1", &manifest, &one);
    let two = test.publish("other:1", &manifest).await.unwrap();
    assert_eq!(one, two);
    assert_eq!(test.fake.started(), 1);
}

#[tokio::test]
async fn a_parent_that_ebs_refuses_is_left_out() {
    let test = Test::start().await;
    let first = test.volume(&[(1, 5)], None);
    let one = test.publish("app:1", &first).await.unwrap();
    // The account wants encryption from now on, and the parent has none.
    test.fake.set_encryption_by_default(true);
    let second = test.volume(&[(1, 5), (2, 5)], Some(&first));
    let two = test.publish_on("app:2", &second, (&first, &one)).await;
    assert_eq!((two.parent.clone(), two.generation), (None, 0));
    test.assert_equal(&two, &second, "without a parent");
}
