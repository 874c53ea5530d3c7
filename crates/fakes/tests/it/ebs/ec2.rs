//! DescribeSnapshots and DeleteSnapshot.

use aws_sdk_ebs::types::Tag;

use super::support::Account;

/// Texts between `<name>` and its end.
fn values<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&open).skip(1);
    parts
        .filter_map(|part| part.split_once(&close))
        .map(|(text, _)| text)
        .collect()
}

async fn tagged(account: &Account, value: &str) -> String {
    let tag = Tag::builder().key("imagecache/owner").value(value).build();
    let call = account.client.start_snapshot().volume_size(1).tags(tag);
    call.send().await.unwrap().snapshot_id.unwrap()
}

#[tokio::test]
async fn snapshots_are_found_by_owner_tag_state_and_id() {
    let account = Account::new().await;
    let public = account.fake.add_public_snapshot();
    let ours = tagged(&account, "a<b>&\"c\"").await;
    let done = tagged(&account, "cluster-1").await;
    account.complete(&done, &[]).await;
    let (ours, done, public) = (ours.as_str(), done.as_str(), public.as_str());
    for (name, pairs, expected) in [
        ("everybody's", vec![], vec![public, ours, done]),
        ("own", vec![("Owner.1", "self")], vec![ours, done]),
        (
            "by tag",
            vec![
                ("Filter.1.Name", "tag:imagecache/owner"),
                ("Filter.1.Value.1", "cluster-*"),
            ],
            vec![done],
        ),
        (
            "by several values and filters",
            vec![
                ("Filter.1.Name", "status"),
                ("Filter.1.Value.1", "error"),
                ("Filter.1.Value.2", "pending"),
                ("Filter.2.Name", "tag-key"),
                ("Filter.2.Value.1", "imagecache/owner"),
            ],
            vec![ours],
        ),
        ("by id", vec![("SnapshotId.1", done)], vec![done]),
    ] {
        let mut all = vec![("Action", "DescribeSnapshots")];
        all.extend(pairs);
        let (status, xml) = account.ec2(&all).await;
        assert_eq!((status, values(&xml, "snapshotId")), (200, expected), "{name}: {xml}");
    }
    let (_, xml) = account
        .ec2(&[("Action", "DescribeSnapshots"), ("SnapshotId.1", ours)])
        .await;
    assert_eq!(values(&xml, "value"), ["a&lt;b&gt;&amp;&quot;c&quot;"]);
    assert_eq!(
        (values(&xml, "status"), values(&xml, "ownerId")),
        (vec!["pending"], vec!["123456789012"])
    );
}

#[tokio::test]
async fn lists_of_snapshots_have_pages() {
    let account = Account::new().await;
    let mut expected = Vec::new();
    for _ in 0..12 {
        expected.push(account.start(1).await);
    }
    let (mut found, mut token) = (Vec::new(), String::new());
    for page in 0.. {
        let mut pairs = vec![("Action", "DescribeSnapshots"), ("MaxResults", "5")];
        if page > 0 {
            pairs.push(("NextToken", &token));
        }
        let (status, xml) = account.ec2(&pairs).await;
        assert_eq!(status, 200, "{xml}");
        found.extend(values(&xml, "snapshotId").into_iter().map(str::to_owned));
        match values(&xml, "nextToken").first() {
            Some(next) => token = (*next).to_owned(),
            None => break,
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_ec2s_words() {
    let account = Account::new().await;
    let id = account.start(1).await;
    let (describe, delete) = (("Action", "DescribeSnapshots"), ("Action", "DeleteSnapshot"));
    account.fake.set_in_use(&id, true);
    for (pairs, expected) in [
        (vec![("Action", "DeleteVolume")], (400, "InvalidAction")),
        (vec![delete], (400, "MissingParameter")),
        (
            vec![delete, ("SnapshotId", "snap-00")],
            (400, "InvalidSnapshot.NotFound"),
        ),
        (
            vec![delete, ("SnapshotId", "vol-00")],
            (400, "InvalidSnapshotID.Malformed"),
        ),
        (vec![delete, ("SnapshotId", &id)], (400, "InvalidSnapshot.InUse")),
        (
            vec![delete, ("SnapshotId", &id), ("DryRun", "true")],
            (412, "DryRunOperation"),
        ),
        (
            vec![describe, ("SnapshotId.1", "snap-00")],
            (400, "InvalidSnapshot.NotFound"),
        ),
        (
            vec![describe, ("Filter.1.Name", "state")],
            (400, "InvalidParameterValue"),
        ),
        (vec![describe, ("MaxResults", "4")], (400, "InvalidParameterValue")),
        (
            vec![describe, ("MaxResults", "5"), ("SnapshotId.1", &id)],
            (400, "InvalidParameterCombination"),
        ),
        (vec![describe, ("NextToken", "nonsense")], (400, "InvalidNextToken")),
    ] {
        let (status, xml) = account.ec2(&pairs).await;
        assert_eq!(
            (status, values(&xml, "Code")),
            (expected.0, vec![expected.1]),
            "{pairs:?}"
        );
    }
}

#[tokio::test]
async fn a_deleted_snapshot_is_gone_pending_or_not() {
    let account = Account::new().await;
    let pending = account.start(1).await;
    let completed = account.snapshot(None, &[(0, 1)]).await;
    for id in [&pending, &completed] {
        let delete = [("Action", "DeleteSnapshot"), ("SnapshotId", id)];
        assert_eq!(account.ec2(&delete).await.0, 200);
        assert_eq!(account.ec2(&delete).await.0, 400);
    }
    assert!(account.fake.snapshots().is_empty());
}
