//! Only what carries our mark is seen and touched.

use imagecache_core::{CacheKey, CacheProvider as _, CacheSpec};
use serde_json::json;

use crate::support::{Cloud, OWNER, begin, key, spec};

#[tokio::test]
async fn a_cache_of_the_same_name_with_other_tags_is_not_ours() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    let (spec, key) = (spec(), key(&spec()));
    let foreign = cloud.fake.add_foreign_cache(key.as_str());
    cloud.fake.add_automatic_cache();
    assert_eq!(provider.get(&key).await.unwrap(), None);
    assert_eq!(provider.list().await.unwrap(), []);
    let ours = provider.ensure(&key, &spec).await.unwrap();
    assert_ne!(ours.id.as_str(), foreign);
    for _ in 0..2 {
        provider.delete(&key).await.unwrap();
        assert_eq!(cloud.fake.caches().len(), 2);
    }
}

#[tokio::test]
async fn a_service_that_compares_names_loosely_misleads_nobody() {
    let cloud = Cloud::start().await;
    cloud.fake.match_names_loosely(true);
    let provider = cloud.open().await;
    let spec = spec();
    let (short, long): (CacheKey, CacheKey) = ("web".parse().unwrap(), "web-2".parse().unwrap());
    let other = provider.ensure(&long, &spec).await.unwrap();
    assert_eq!(provider.get(&short).await.unwrap(), None);
    assert_ne!(provider.ensure(&short, &spec).await.unwrap().id, other.id);
    provider.delete(&short).await.unwrap();
    assert_eq!(cloud.only_cache().id, other.id.as_str());
}

#[tokio::test]
async fn two_installations_share_an_account() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.open().await, cloud.open_with(Some("cluster-2"), json!({})).await);
    let (key, spec, state) = begin(&one).await;
    assert_eq!(two.get(&key).await.unwrap(), None);
    assert_eq!(two.list().await.unwrap(), []);
    two.delete(&key).await.unwrap();
    assert_eq!(cloud.only_cache().id, state.id.as_str());
    two.ensure(&key, &spec).await.unwrap();
    assert_eq!(one.list().await.unwrap().len(), 1);
    assert_eq!(two.list().await.unwrap().len(), 1);
    assert_eq!(cloud.fake.caches().len(), 2);
    assert!(one.capabilities().marks_owner);
}

#[tokio::test]
async fn the_command_line_sees_all_that_this_program_made_and_calls_none_a_duplicate() {
    let cloud = Cloud::start().await;
    cloud.fake.add_foreign_cache("somebody-elses");
    let first = cloud.open().await;
    let (key, spec, _) = begin(&first).await;
    let second = cloud.open_with(Some("cluster-2"), json!({})).await;
    second.ensure(&key, &spec).await.unwrap();
    let cli = cloud.start_provider(None, json!({}));
    assert!(!cli.capabilities().marks_owner);
    assert_eq!(cli.list().await.unwrap().len(), 2);
    cli.ensure(&key, &spec).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 3);
    cli.ensure(&CacheKey::new("by hand", &spec), &spec).await.unwrap();
    assert_eq!(cli.list().await.unwrap().len(), 3);
    assert_eq!(
        cloud.open().await.list().await.unwrap().len(),
        1,
        "the installation sees its own"
    );
}

#[tokio::test]
async fn the_configured_owner_wins() {
    let cloud = Cloud::start().await;
    let provider = cloud
        .open_with(Some("uid-of-the-cluster"), json!({"owner": OWNER}))
        .await;
    begin(&provider).await;
    assert_eq!(cloud.open().await.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_pages() {
    let cloud = Cloud::start().await;
    let provider = cloud.open_with(Some(OWNER), json!({"page_size": 3})).await;
    for n in 0..10 {
        let spec = CacheSpec {
            size_gib: 20 + n,
            ..spec()
        };
        provider.ensure(&key(&spec), &spec).await.unwrap();
        cloud.fake.add_foreign_cache(&format!("foreign-{n}"));
    }
    let before = cloud.fake.calls("DescribeImageCaches");
    let listed = provider.list().await.unwrap();
    assert_eq!(cloud.fake.calls("DescribeImageCaches") - before, 7);
    let mut sizes: Vec<u32> = listed.iter().map(|state| state.size_gib).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, (20..30).collect::<Vec<u32>>());
}
