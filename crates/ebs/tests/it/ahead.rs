//! Parts that are sent while others are still being built.

use std::collections::VecDeque;
use std::sync::Mutex;

use imagecache_blocks::{Feed, PartFeed, PlacedPart, SnapshotManifest};

use crate::support::{BLOCK, Test};

/// Gives parts, with a pause between them.
struct Given {
    parts: Mutex<VecDeque<PlacedPart>>,
    paused: std::sync::atomic::AtomicBool,
    bytes: u64,
}

impl PartFeed for Given {
    fn next(&self) -> Feed {
        if !self.paused.fetch_xor(true, std::sync::atomic::Ordering::SeqCst) {
            return Feed::Later;
        }
        self.parts.lock().unwrap().pop_front().map_or(Feed::End, Feed::Part)
    }

    fn expected_bytes(&self) -> u64 {
        self.bytes
    }
}

/// The first `count` parts of a volume, so many blocks away from their place.
fn parts(manifest: &SnapshotManifest, count: usize, off: u64) -> Given {
    let placed = manifest.parts().take(count).map(|(part, extent)| {
        let range = extent.first_block as usize..(extent.first_block + extent.blocks) as usize;
        PlacedPart {
            part,
            first_block: extent.first_block + off,
            digests: manifest.blocks[range].to_vec(),
        }
    });
    Given {
        parts: Mutex::new(placed.collect()),
        paused: false.into(),
        bytes: manifest.volume_bytes,
    }
}

#[tokio::test]
async fn what_was_sent_ahead_is_not_sent_again() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 20), (2, 10)], None);
    test.send_ahead("app:1", &manifest, None, parts(&manifest, 1, 0))
        .await
        .unwrap();
    assert_eq!(test.fake.calls("PutSnapshotBlock"), 20);
    // Also by another process.
    test.restart(|_| {});
    test.send_ahead("app:1", &manifest, None, parts(&manifest, 2, 0))
        .await
        .unwrap();
    assert_eq!(test.fake.calls("PutSnapshotBlock"), 30);
    test.restart(|_| {});
    assert_eq!(test.collect().await.unwrap(), 0, "the journal claims it");
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "ahead");
    let snapshot = test.fake.snapshot(&published.id).unwrap();
    assert!(
        snapshot.puts.values().all(|puts| puts.accepted == 1),
        "{:?}",
        snapshot.puts
    );
    assert_eq!(test.fake.started(), 1);
    let index = snapshot.tag("imagecache.dev/index").map(str::to_owned);
    assert_eq!(index, Some(manifest.index.to_string()));
}

#[tokio::test]
async fn only_new_blocks_are_sent_ahead_on_top_of_a_parent() {
    let test = Test::start().await;
    let first = test.volume(&[(1, 20)], None);
    let one = test.publish("app:1", &first).await.unwrap();
    test.ready("app:1", &first, &one);
    let sent = test.fake.calls("PutSnapshotBlock");
    let second = test.volume(&[(1, 20), (2, 10)], Some(&first));
    let previous = Some((&first, &one));
    test.send_ahead("app:2", &second, previous, parts(&second, 2, 0))
        .await
        .unwrap();
    assert_eq!(test.fake.calls("PutSnapshotBlock") - sent, 10);
    let two = test.publish_on("app:2", &second, (&first, &one)).await;
    test.assert_equal(&two, &second, "on top");
    assert_eq!(two.parent, Some(one.id));
    assert_eq!(test.fake.started(), 2);
}

#[tokio::test]
async fn places_that_turn_out_to_be_others_leave_no_wrong_byte() {
    for encrypted in [false, true] {
        let test = Test::start().await;
        test.fake.set_encryption_by_default(encrypted);
        let manifest = test.volume(&[(1, 20), (2, 10)], None);
        let end = manifest.blocks.len() as u32;
        test.send_ahead("app:1", &manifest, None, parts(&manifest, 2, 7))
            .await
            .unwrap();
        let published = test.publish("app:1", &manifest).await.unwrap();
        test.assert_equal(&published, &manifest, "moved");
        assert_eq!(test.fake.started(), 1);
        for index in end..end + 7 {
            let block = test.fake.volume_block(&published.id, index).unwrap();
            assert!(block == [0; BLOCK], "block {index} is left over");
        }
    }
}

#[tokio::test]
async fn a_volume_that_outgrows_what_was_expected_is_started_anew() {
    let test = Test::start().await;
    let manifest = test.far_volume(1, 2_100);
    let mut given = parts(&manifest, 1, 0);
    given.bytes = BLOCK as u64;
    for part in given.parts.get_mut().unwrap() {
        part.first_block = 3;
    }
    test.send_ahead("app:1", &manifest, None, given).await.unwrap();
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "larger");
    test.ready("app:1", &manifest, &published);
    assert_eq!(test.collect().await.unwrap(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_ahead_is_told_when_it_is_published() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 20)], None);
    test.fake
        .inject_every("PutSnapshotBlock", imagecache_fakes::ebs::Fault::AccessDenied, 1);
    test.send_ahead("app:1", &manifest, None, parts(&manifest, 1, 0))
        .await
        .unwrap_err();
    let error = test.publish("app:1", &manifest).await.unwrap_err();
    assert!(error.to_string().contains("ebs:PutSnapshotBlock"), "{error}");
    test.fake.heal();
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "at last");
    assert_eq!(test.fake.started(), 1);
}
