//! From StartSnapshot to what a volume shows.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm, Tag};
use imagecache_fakes::ebs::{BLOCK_BYTES, Puts};

use super::support::{Account, linear, put, refusal};

#[tokio::test]
async fn what_was_put_comes_back() {
    let account = Account::new().await;
    let id = account.snapshot(None, &[(7, 1), (0, 2), (2_047, 1)]).await;
    assert_eq!(account.content(&id).await, BTreeMap::from([(0, 2), (7, 1), (2_047, 1)]));
    let view = account.fake.snapshot(&id).unwrap();
    assert_eq!((view.status.as_str(), view.blocks), ("completed", vec![0, 7, 2_047]));
    assert_eq!(account.fake.bytes(), 3 * 512 * 1024);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    account.fake.write_volume(&id, &path).unwrap();
    let volume = File::open(path).unwrap();
    assert_eq!(volume.metadata().unwrap().len(), 1 << 30);
    for (block, byte) in [(0, 2), (1, 0), (7, 1), (2_047, 1)] {
        let mut found = vec![9; BLOCK_BYTES];
        volume.read_exact_at(&mut found, block << 19).unwrap();
        assert!(found == vec![byte; BLOCK_BYTES], "block {block}");
    }
}

#[tokio::test]
async fn the_second_put_of_an_index_replaces_the_first() {
    let account = Account::new().await;
    let id = account.start(1).await;
    account.put(&id, 3, 1).await;
    account.put(&id, 3, 2).await;
    account.complete(&id, &[(3, 2)]).await;
    assert_eq!(account.content(&id).await, BTreeMap::from([(3, 2)]));
    let twice = Puts {
        accepted: 2,
        acknowledged: 2,
    };
    assert_eq!(account.fake.snapshot(&id).unwrap().puts, BTreeMap::from([(3, twice)]));
}

#[tokio::test]
async fn a_child_shows_its_parents_blocks_even_when_they_are_deleted() {
    let account = Account::new().await;
    let parent = account.snapshot(None, &[(0, 1), (1, 1), (2, 1)]).await;
    let child = account.snapshot(Some(&parent), &[(1, 2)]).await;
    let grandchild = account.snapshot(Some(&child), &[(2, 3), (9, 3)]).await;
    let (status, _) = account
        .ec2(&[("Action", "DeleteSnapshot"), ("SnapshotId", &child)])
        .await;
    assert_eq!(status, 200);
    let expected = BTreeMap::from([(0, 1), (1, 2), (2, 3), (9, 3)]);
    assert_eq!(account.content(&grandchild).await, expected);
    assert_eq!(account.fake.snapshot(&grandchild).unwrap().blocks, vec![2, 9]);
    let gone = account.client.list_snapshot_blocks().snapshot_id(&child).send().await;
    assert_eq!(refusal(gone.unwrap_err()).2, "SNAPSHOT_NOT_FOUND");
}

#[tokio::test]
async fn unwritten_blocks_read_as_zeros_as_garbage_or_as_the_parents() {
    let account = Account::new().await;
    let plain = account.snapshot(None, &[(0, 1)]).await;
    let call = account.client.start_snapshot().volume_size(1).encrypted(true);
    let started = call.send().await.unwrap();
    assert_eq!(started.sse_type().map(|sse| sse.as_str()), Some("sse-kms"));
    let encrypted = started.snapshot_id.unwrap();
    account.put(&encrypted, 0, 1).await;
    account.complete(&encrypted, &[(0, 1)]).await;
    let child = account.snapshot(Some(&encrypted), &[(1, 2)]).await;
    let first = |id: &str, index| {
        let block = account.fake.volume_block(id, index).unwrap();
        assert_eq!(block.len(), 512 * 1024);
        let same = block.iter().all(|byte| *byte == block[0]);
        same.then_some(block[0])
    };
    for (name, id, index, expected) in [
        ("written", &plain, 0, Some(1)),
        ("unwritten", &plain, 1, Some(0)),
        ("written and encrypted", &encrypted, 0, Some(1)),
        ("unwritten and encrypted", &encrypted, 1, None),
        ("the parent's", &child, 0, Some(1)),
        ("its own", &child, 1, Some(2)),
        ("nobody's", &child, 2, None),
    ] {
        assert_eq!(first(id, index), expected, "{name}");
    }
    assert_eq!(account.content(&encrypted).await, BTreeMap::from([(0, 1)]));
}

#[tokio::test]
async fn a_block_must_be_whole_inside_and_what_its_checksum_says() {
    let account = Account::new().await;
    let id = account.start(1).await;
    let zeros = "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=";
    let sha256 = ChecksumAlgorithm::ChecksumAlgorithmSha256;
    let (block, value) = ("INVALID_BLOCK", "INVALID_PARAMETER_VALUE");
    for (name, index, bytes, length, checksum, algorithm, progress, expected) in [
        ("in order", 0, 524_288, 524_288, zeros, sha256.clone(), Some(50), None),
        ("last one", 2_047, 524_288, 524_288, zeros, sha256.clone(), None, None),
        (
            "outside",
            2_048,
            524_288,
            524_288,
            zeros,
            sha256.clone(),
            None,
            Some(block),
        ),
        (
            "below zero",
            -1,
            524_288,
            524_288,
            zeros,
            sha256.clone(),
            None,
            Some(value),
        ),
        ("short", 0, 524_287, 524_288, zeros, sha256.clone(), None, Some(block)),
        (
            "said to be short",
            0,
            524_288,
            524_287,
            zeros,
            sha256.clone(),
            None,
            Some(block),
        ),
        (
            "other content",
            0,
            524_288,
            524_288,
            "AAAA",
            sha256.clone(),
            None,
            Some(block),
        ),
        (
            "other algorithm",
            0,
            524_288,
            524_288,
            zeros,
            "MD5".into(),
            None,
            Some(block),
        ),
        ("too far", 0, 524_288, 524_288, zeros, sha256, Some(101), Some(value)),
    ] {
        let call = account.client.put_snapshot_block().snapshot_id(&id).block_index(index);
        let call = call
            .data_length(length)
            .checksum(checksum)
            .checksum_algorithm(algorithm);
        let call = call.set_progress(progress).block_data(vec![0; bytes].into());
        let reason = call.send().await.err().map(|error| refusal(error).2);
        assert_eq!(reason.as_deref(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_snapshot_is_completed_by_its_count_and_checksum() {
    let account = Account::new().await;
    let id = account.start(1).await;
    account.put(&id, 5, 1).await;
    account.put(&id, 2, 2).await;
    let blocks = [(5, 1), (2, 2)];
    let sum = linear(&blocks);
    let linearly = ChecksumAggregationMethod::ChecksumAggregationLinear;
    let value = "INVALID_PARAMETER_VALUE";
    for (name, count, checksum, method, expected) in [
        ("wrong count", 1, sum.as_str(), linearly.clone(), Some(value)),
        ("wrong checksum", 2, "AAAA", linearly.clone(), Some(value)),
        ("wrong method", 2, sum.as_str(), "TREE".into(), Some(value)),
        ("all right", 2, sum.as_str(), linearly.clone(), None),
        ("twice", 2, sum.as_str(), linearly, Some("INVALID_SNAPSHOT_ID")),
    ] {
        let call = account
            .client
            .complete_snapshot()
            .snapshot_id(&id)
            .changed_blocks_count(count);
        let call = call.checksum(checksum).checksum_aggregation_method(method);
        let call = call.checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256);
        let result = call.send().await;
        let reason = result.map_err(|error| refusal(error).2).err();
        assert_eq!(reason.as_deref(), expected, "{name}");
        account.fake.snapshots(); // lets the fake's time pass
    }
    let late = put(&account.client, &id, 0, 0).await.unwrap_err();
    assert_eq!(refusal(late).2, "INVALID_SNAPSHOT_ID");
}

#[tokio::test]
async fn a_completed_snapshot_stays_pending_for_a_while_and_can_end_as_an_error() {
    let account = Account::new().await;
    account.fake.set_completion_lag(Duration::from_secs(30));
    account.fake.fail_next_completion("told to fail");
    for expected in ["error", "completed"] {
        let id = account.snapshot(None, &[(0, 1)]).await;
        assert_eq!(account.fake.snapshot(&id).unwrap().status, "pending");
        account.complete(&id, &[(0, 1)]).await;
        let early = account.client.list_snapshot_blocks().snapshot_id(&id).send().await;
        assert_eq!(refusal(early.unwrap_err()).2, "INVALID_SNAPSHOT_ID");
        account.fake.advance(Duration::from_secs(31));
        assert_eq!(account.fake.snapshot(&id).unwrap().status, expected);
    }
}

#[tokio::test]
async fn a_client_token_starts_one_snapshot() {
    let account = Account::new().await;
    let call = || {
        let tag = Tag::builder().key("k").value("v").build();
        account
            .client
            .start_snapshot()
            .volume_size(2)
            .client_token("t")
            .tags(tag)
    };
    let first = call().send().await.unwrap();
    let second = call().send().await.unwrap();
    assert_eq!(first.snapshot_id, second.snapshot_id);
    assert_eq!(first.start_time, second.start_time);
    assert_eq!((first.volume_size, first.block_size), (Some(2), Some(524_288)));
    assert_eq!(account.fake.started(), 1);
    assert_eq!(account.fake.snapshots()[0].tag("k"), Some("v"));
    let other = call().volume_size(3).send().await.unwrap_err();
    assert_eq!(refusal(other), (409, "ConflictException".to_owned(), String::new()));
}

#[tokio::test]
async fn a_parent_must_be_there_completed_and_not_larger() {
    let account = Account::new().await;
    let pending = account.start(1).await;
    let large = account.start(2).await;
    account.complete(&large, &[]).await;
    for (name, parent, expected) in [
        ("unknown", "snap-0123456789abcdef0", "SNAPSHOT_NOT_FOUND"),
        ("pending", &pending, "INVALID_SNAPSHOT_ID"),
        ("larger", &large, "INVALID_VOLUME_SIZE"),
    ] {
        let call = account
            .client
            .start_snapshot()
            .volume_size(1)
            .parent_snapshot_id(parent);
        assert_eq!(refusal(call.send().await.unwrap_err()).2, expected, "{name}");
    }
    account.fake.set_encryption_by_default(true);
    let call = account
        .client
        .start_snapshot()
        .volume_size(2)
        .parent_snapshot_id(&large);
    assert_eq!(refusal(call.send().await.unwrap_err()).2, "INVALID_PARAMETER_VALUE");
    let encrypted = account.start(1).await;
    assert!(account.fake.snapshot(&encrypted).unwrap().encrypted);
}

#[tokio::test]
async fn nobody_waits_for_a_snapshot_for_ever() {
    let account = Account::new().await;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let call = account.client.start_snapshot().volume_size(1).timeout(20);
    let id = call.send().await.unwrap().snapshot_id.unwrap();
    account.fake.advance(minutes(19));
    account.put(&id, 0, 1).await;
    account.fake.advance(minutes(19));
    assert_eq!(account.fake.snapshot(&id).unwrap().status, "pending");
    account.fake.advance(minutes(2));
    assert_eq!(account.fake.snapshot(&id).unwrap().status, "error");
    let late = put(&account.client, &id, 1, 1).await.unwrap_err();
    assert_eq!(refusal(late).2, "INVALID_SNAPSHOT_ID");
}

#[tokio::test]
async fn too_many_may_not_be_pending() {
    let account = Account::new().await;
    account.fake.set_pending_quota(1);
    let id = account.start(1).await;
    let call = || account.client.start_snapshot().volume_size(1).send();
    let refused = refusal(call().await.unwrap_err());
    assert_eq!(
        refused,
        (400, "ConcurrentLimitExceededException".to_owned(), String::new())
    );
    account.complete(&id, &[]).await;
    call().await.unwrap();
}
