//! Only what carries our mark is seen and touched.

use imagecache_core::{CacheKey, CacheProvider as _, CacheSpec};
use serde_json::json;

use crate::support::{Cloud, OWNER, begin, key, spec};

/// Fact sheet `tencent-eks`, 7.3: `auto` caches are ignored and never collected, and their empty names do no harm.
#[tokio::test]
async fn what_the_service_makes_by_itself_is_not_ours() {
    let cloud = Cloud::start().await;
    let provider = cloud.open().await;
    let automatic = cloud.fake.add_automatic_cache();
    assert_eq!(provider.list().await.unwrap(), []);
    let (key, _, ours) = begin(&provider).await;
    assert_ne!(ours.id.as_str(), automatic);
    provider.delete(&key).await.unwrap();
    assert_eq!(cloud.only_cache().id, automatic);
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
