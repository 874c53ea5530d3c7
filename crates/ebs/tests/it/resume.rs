//! An upload that ended in the middle goes on where it was.

use imagecache_core::ErrorKind;
use imagecache_fakes::ebs::Fault;

use crate::support::{StopAfter, Test};

#[tokio::test]
async fn an_interrupted_upload_sends_nothing_twice() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 300)], None);
    test.restart(|config| {
        config.in_flight = 4;
        config.blocks_per_second = 150;
    });
    let mut known = std::collections::BTreeSet::new();
    let mut before = Vec::new();
    for limit in [1, 60, 120, 200] {
        let outcome = test
            .publish_watched("app:1", &manifest, None, StopAfter::blocks(limit))
            .await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let now = test.acknowledged("app:1");
        let puts = &test.fake.snapshots()[0].puts;
        // Whatever was answered before the end of the upload was written down.
        let answered = puts.iter().filter(|(_, puts)| puts.acknowledged > 0);
        let unknown: Vec<&u32> = answered
            .map(|(index, _)| index)
            .filter(|index| !now.contains(index))
            .collect();
        assert_eq!(unknown, [&0_u32; 0], "acknowledged, and forgotten");
        before.push(
            now.iter()
                .map(|index| (*index, puts[index].accepted))
                .collect::<Vec<(u32, usize)>>(),
        );
        assert!(known.is_subset(&now), "the journal forgot");
        assert!(now.len() as u64 >= limit);
        known = now;
        test.restart(|config| {
            config.in_flight = 4;
            config.blocks_per_second = 150;
        });
    }
    assert!(known.len() < 300, "it was never interrupted");
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "resumed");
    assert_eq!(test.fake.started(), 1);
    let snapshot = test.fake.snapshot(&published.id).unwrap();
    for (index, count) in before.iter().flatten() {
        assert_eq!(
            snapshot.puts[index].accepted, *count,
            "block {index} was sent again although acknowledged"
        );
    }
    let all: usize = snapshot.puts.values().map(|puts| puts.accepted).sum();
    assert!(
        all <= snapshot.puts.len() + before.len() * 4,
        "no more than what was under way is sent again"
    );
}

#[tokio::test]
async fn a_finished_upload_is_found_again() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 10)], None);
    let first = test.publish("app:1", &manifest).await.unwrap();
    let calls = test.fake.calls("PutSnapshotBlock");
    // The process died before the record was written.
    test.restart(|_| {});
    assert_eq!(test.publish("app:1", &manifest).await.unwrap(), first);
    assert_eq!((test.fake.calls("PutSnapshotBlock"), test.fake.started()), (calls, 1));
}

#[tokio::test]
async fn a_start_whose_answer_never_came_is_the_same_snapshot() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 10)], None);
    test.fake.inject_every("StartSnapshot", Fault::LostAnswer, 1);
    test.publish("app:1", &manifest).await.unwrap_err();
    test.fake.heal();
    test.restart(|_| {});
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "started once");
    assert_eq!(test.fake.started(), 1);
}

#[tokio::test]
async fn a_snapshot_that_is_gone_is_started_anew() {
    let mut test = Test::start().await;
    let manifest = test.volume(&[(1, 100)], None);
    test.restart(|config| config.blocks_per_second = 100);
    test.publish_watched("app:1", &manifest, None, StopAfter::blocks(10))
        .await
        .unwrap_err();
    // Three days without a block.
    test.fake.advance(std::time::Duration::from_secs(4 * 24 * 3600));
    test.restart(|_| {});
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.assert_equal(&published, &manifest, "anew");
    assert_eq!(test.fake.started(), 2);
}

#[tokio::test]
async fn another_volume_leaves_the_old_upload_to_the_collector() {
    let mut test = Test::start().await;
    let old = test.volume(&[(1, 100)], None);
    test.restart(|config| config.blocks_per_second = 100);
    test.publish_watched("app:1", &old, None, StopAfter::blocks(10))
        .await
        .unwrap_err();
    test.restart(|_| {});
    assert_eq!(test.collect().await.unwrap(), 0, "the journal claims it");
    let new = test.volume(&[(2, 10)], None);
    let published = test.publish("app:1", &new).await.unwrap();
    test.assert_equal(&published, &new, "new");
    assert_eq!(test.collect().await.unwrap(), 1);
    let left: Vec<String> = test.fake.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(left, [published.id]);
}

#[tokio::test]
async fn blocks_under_way_are_limited_over_all_uploads() {
    let mut test = Test::start().await;
    let volumes = [test.volume(&[(1, 15)], None), test.volume(&[(2, 15)], None)];
    test.restart(|config| config.in_flight = 3);
    let latency = std::time::Duration::from_millis(100);
    test.fake.set_latency("PutSnapshotBlock", latency);
    let begin = std::time::Instant::now();
    let (one, two) = tokio::join!(test.publish("app:1", &volumes[0]), test.publish("app:2", &volumes[1]));
    let took = begin.elapsed();
    let blocks: usize = [one.unwrap(), two.unwrap()]
        .iter()
        .map(|published| test.fake.snapshot(&published.id).unwrap().blocks.len())
        .sum();
    let least = latency * u32::try_from(blocks / 3).unwrap();
    assert!(
        took >= least,
        "{blocks} blocks took {took:?}, three at a time take {least:?}"
    );
}
