//! Only what carries our mark is seen and touched.

use imagecache_core::{CacheKey, CacheProvider as _, CacheSpec};
use serde_json::json;

use crate::support::{Cloud, OWNER, begin, key, spec};

#[tokio::test]
async fn a_cache_of_the_same_name_without_our_mark_is_not_ours() {
    let cloud = Cloud::start().await;
    let provider = cloud.open();
    let (spec, foreign) = (spec(), cloud.fake.add_foreign_cache(key(&spec()).as_str()));
    let key = key(&spec);
    assert_eq!(provider.get(&key).await.unwrap(), None);
    assert_eq!(provider.list().await.unwrap(), []);
    let ours = provider.ensure(&key, &spec).await.unwrap();
    assert_ne!(ours.id.as_str(), foreign);
    provider.delete(&key).await.unwrap();
    assert_eq!(cloud.only_cache().id, foreign);
    provider.delete(&key).await.unwrap();
    assert_eq!(cloud.only_cache().id, foreign);
}

#[tokio::test]
async fn two_installations_share_an_account() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.open(), cloud.open_with(Some("cluster-2"), json!({})));
    let (key, spec, state) = begin(&one).await;
    assert_eq!(two.get(&key).await.unwrap(), None);
    assert_eq!(two.list().await.unwrap(), []);
    two.delete(&key).await.unwrap();
    assert_eq!(cloud.only_cache().id, state.id.as_str());
    let other = CacheKey::new("another-object", &spec);
    two.ensure(&other, &spec).await.unwrap();
    assert_eq!(one.list().await.unwrap().len(), 1);
    assert_eq!(two.list().await.unwrap().len(), 1);
    assert!(one.capabilities().marks_owner);
    assert!(
        cloud.fake.caches().iter().all(|cache| cache.tags.len() == 4),
        "the mark, and nothing more"
    );
}

#[tokio::test]
async fn the_command_line_sees_all_that_this_program_made() {
    let cloud = Cloud::start().await;
    cloud.fake.add_foreign_cache("somebody-elses");
    let (key, spec, state) = begin(&cloud.open()).await;
    let cli = cloud.open_with(None, json!({}));
    assert!(!cli.capabilities().marks_owner);
    let own_key = CacheKey::new("by hand", &spec);
    cli.ensure(&own_key, &spec).await.unwrap();
    assert_eq!(cli.list().await.unwrap().len(), 2);
    assert_eq!(cli.get(&key).await.unwrap().unwrap().id, state.id);
    assert_eq!(
        cloud.open().list().await.unwrap().len(),
        1,
        "the installation sees its own"
    );
    cli.delete(&key).await.unwrap();
    assert_eq!(cli.list().await.unwrap().len(), 1);
    assert_eq!(cloud.fake.caches().len(), 2);
}

#[tokio::test]
async fn the_command_line_calls_no_installations_cache_a_duplicate() {
    let cloud = Cloud::start().await;
    let (key, spec, _) = begin(&cloud.open()).await;
    let second = cloud.open_with(Some("cluster-2"), json!({"defaults": {"layer_reuse": true}}));
    second.ensure(&key, &spec).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 2);
    let cli = cloud.open_with(None, json!({}));
    cli.ensure(&key, &spec).await.unwrap();
    assert_eq!(cloud.fake.caches().len(), 2);
    assert_eq!(cli.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_configured_owner_wins() {
    let cloud = Cloud::start().await;
    begin(&cloud.open_with(Some("uid-of-the-cluster"), json!({"owner": OWNER}))).await;
    assert_eq!(cloud.open().list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_pages() {
    let cloud = Cloud::start().await;
    let provider = cloud.open_with(Some(OWNER), json!({"page_size": 3}));
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
    assert_eq!(cloud.fake.calls("DescribeImageCaches") - before, 4);
    let mut sizes: Vec<u32> = listed.iter().map(|state| state.size_gib).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, (20..30).collect::<Vec<u32>>());
}
