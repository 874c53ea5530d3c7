//! Only what carries our mark is seen and touched.

use imagecache_core::{CacheProvider as _, CacheSpec};
use serde_json::json;

use crate::support::{Cloud, OWNER, begin, key, spec};

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
