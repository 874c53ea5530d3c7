//! Many objects cost one listing an interval, and no writes once they are settled.

use std::time::Duration;

use futures::StreamExt as _;
use imagecache_conformance::MemoryProvider;
use imagecache_k8s_api::{alibaba, crds};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::cluster::{self, Running, until};

const OBJECTS: usize = 400;
/// Requests of the test itself that are under way at once.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn many_objects() {
    let client = cluster::in_process(crds()).await;
    let provider = MemoryProvider::default();
    let api: Api<alibaba::ImageCache> = Api::all(client.clone());
    futures::stream::iter(0..OBJECTS)
        .for_each_concurrent(AT_ONCE, |n| {
            let api = api.clone();
            async move {
                let spec = json!({ "images": [format!("app:{n}")] });
                let mut object: alibaba::ImageCache =
                    alibaba::ImageCache::new(&format!("many-{n}"), serde_json::from_value(spec).unwrap());
                object.metadata.labels = Some([("many".to_owned(), "yes".to_owned())].into());
                api.create(&PostParams::default(), &object).await.unwrap();
            }
        })
        .await;
    let started = tokio::time::Instant::now();
    let controller = Running::start(&client, &provider);
    let settled = || async {
        provider.finish_builds();
        let all = api.list(&ListParams::default()).await.unwrap();
        let ready = all
            .iter()
            .filter(|object| object.status.as_ref().is_some_and(|status| status.phase == "Ready"));
        let ready = ready.count();
        if ready == OBJECTS {
            Ok(all)
        } else {
            Err(format!("{ready} are ready"))
        }
    };
    let before = until("all to be ready", settled).await;
    let intervals = usize::try_from(started.elapsed().as_millis() / 50).unwrap();
    assert!(
        provider.lists() <= intervals + 2,
        "{} listings in {intervals} intervals",
        provider.lists()
    );
    assert_eq!(provider.builds_started(), OBJECTS);

    let lists = provider.lists();
    until("two more listings", || async {
        if provider.lists() >= lists + 2 {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    let after = api.list(&ListParams::default()).await.unwrap();
    let version = |object: &alibaba::ImageCache| (object.name_any(), object.resource_version());
    assert_eq!(
        before.iter().map(version).collect::<Vec<_>>(),
        after.iter().map(version).collect::<Vec<_>>(),
        "settled objects are not written"
    );
    tokio::time::timeout(Duration::from_secs(30), controller.stop())
        .await
        .unwrap();
}
