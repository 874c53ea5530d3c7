//! Pages, tokens, and what changed between two snapshots.

use std::collections::BTreeMap;
use std::time::Duration;

use imagecache_fakes::ebs::Pages;

use super::support::{Account, refusal};

#[tokio::test]
async fn pages_may_be_short_or_empty_and_still_have_a_next_one() {
    let account = Account::new().await;
    let blocks: Vec<(i32, u8)> = (0..7).map(|index| (index * 3, 1)).collect();
    let id = account.snapshot(None, &blocks).await;
    let expected: BTreeMap<i32, u8> = blocks.into_iter().collect();
    for (pages, calls) in [(Pages::Full, 1), (Pages::Short(2), 4), (Pages::ShortAndEmpty(2), 8)] {
        account.fake.set_pages(pages);
        let before = account.fake.calls("ListSnapshotBlocks");
        assert_eq!(account.content(&id).await, expected, "{pages:?}");
        assert_eq!(account.fake.calls("ListSnapshotBlocks") - before, calls, "{pages:?}");
    }
}

#[tokio::test]
async fn a_list_starts_where_it_is_told_to_unless_it_goes_on() {
    let account = Account::new().await;
    let id = account.snapshot(None, &[(1, 1), (2, 1), (5, 1)]).await;
    account.fake.set_pages(Pages::Short(1));
    let call = || {
        account
            .client
            .list_snapshot_blocks()
            .snapshot_id(&id)
            .starting_block_index(2)
    };
    let first = call().send().await.unwrap();
    assert_eq!(first.blocks()[0].block_index(), Some(2));
    assert_eq!((first.volume_size(), first.block_size()), (Some(1), Some(524_288)));
    let second = call().set_next_token(first.next_token).send().await.unwrap();
    assert_eq!((second.blocks()[0].block_index(), second.next_token()), (Some(5), None));
    let few = call().max_results(99).send().await.unwrap_err();
    assert_eq!(refusal(few).2, "INVALID_PARAMETER_VALUE");
}

#[tokio::test]
async fn tokens_differ_each_time_and_expire() {
    let account = Account::new().await;
    let id = account.snapshot(None, &[(0, 1), (1, 2)]).await;
    account.fake.set_pages(Pages::Short(1));
    let list = || account.client.list_snapshot_blocks().snapshot_id(&id);
    let (first, second) = (list().send().await.unwrap(), list().send().await.unwrap());
    let token = |page: &aws_sdk_ebs::operation::list_snapshot_blocks::ListSnapshotBlocksOutput| {
        page.blocks()[0].block_token().unwrap().to_owned()
    };
    assert_ne!(token(&first), token(&second));
    let get = |index: i32, token: String| {
        let call = account.client.get_snapshot_block().snapshot_id(&id);
        call.block_index(index).block_token(token).send()
    };
    for token in [token(&first), token(&second)] {
        get(0, token).await.unwrap();
    }
    let other_block = get(1, token(&first)).await.unwrap_err();
    assert_eq!(refusal(other_block).2, "INVALID_BLOCK_TOKEN");
    account.fake.advance(Duration::from_secs(61 * 60));
    let late = list()
        .set_next_token(first.next_token.clone())
        .send()
        .await
        .unwrap_err();
    assert_eq!(refusal(late).2, "INVALID_PAGE_TOKEN");
    get(0, token(&first)).await.unwrap();
    account.fake.advance(Duration::from_secs(7 * 24 * 3_600));
    let late = get(0, token(&first)).await.unwrap_err();
    assert_eq!(refusal(late).2, "INVALID_BLOCK_TOKEN");
}

#[tokio::test]
async fn changes_are_listed_between_relatives() {
    let account = Account::new().await;
    let parent = account.snapshot(None, &[(0, 1), (1, 1)]).await;
    let child = account.snapshot(Some(&parent), &[(0, 1), (1, 2), (4, 3)]).await;
    let stranger = account.snapshot(None, &[(0, 1)]).await;
    let changes = |first: &str, second: &str| {
        let call = account.client.list_changed_blocks().first_snapshot_id(first);
        call.second_snapshot_id(second).send()
    };
    let page = changes(&parent, &child).await.unwrap();
    let found: Vec<_> = page
        .changed_blocks()
        .iter()
        .map(|block| {
            let sides = (
                block.first_block_token().is_some(),
                block.second_block_token().is_some(),
            );
            (block.block_index().unwrap(), sides)
        })
        .collect();
    assert_eq!(found, [(1, (true, true)), (4, (false, true))]);
    let unrelated = changes(&stranger, &child).await.unwrap_err();
    let expected = (400, "ValidationException".to_owned(), "UNRELATED_SNAPSHOTS".to_owned());
    assert_eq!(refusal(unrelated), expected);
}
