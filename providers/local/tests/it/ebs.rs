//! Caches whose snapshots are kept in EBS, through the provider.

use imagecache_core::{CacheKey, CacheProvider as _, Phase};
use imagecache_fakes::ebs::{FakeEbs, Fault};
use imagecache_fakes::image::{Compression, Image, LayerBuilder};
use imagecache_fakes::registry::FakeRegistry;

use crate::support::{TestClock, build, noise, open_on_ebs, spec};

const MIB: usize = 1 << 20;

fn layer(seed: u64, length: usize) -> imagecache_fakes::image::Layer {
    LayerBuilder::new()
        .file(&format!("file-{seed}"), &noise(seed, length), 0o644)
        .build(Compression::None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_cache_sends_its_difference_and_everything_reads_back() {
    let (registry, fake) = (FakeRegistry::start().await.unwrap(), FakeEbs::start().await.unwrap());
    let base = layer(1, 60 * MIB);
    registry.push("app", "1", &Image::new(vec![base.clone()]));
    registry.push("app", "2", &Image::new(vec![base, layer(2, 100_000)]));
    let directory = tempfile::tempdir().unwrap();
    let provider = open_on_ebs(directory.path(), TestClock::new().clock(), &fake);
    let [old, new] = ["1", "2"].map(|tag| spec(&format!("{}/app:{tag}", registry.host())));
    let first = build(&provider, "owner", &old).await;
    assert_eq!(first.phase, Phase::Ready, "{:?}", first.events);
    let sent = fake.calls("PutSnapshotBlock");
    let second = build(&provider, "owner", &new).await;
    let more = fake.calls("PutSnapshotBlock") - sent;
    assert!(sent >= 120 && more <= 4, "{sent} blocks first, {more} then");
    let [one, two] = [&first, &second].map(|state| fake.snapshot(state.snapshot_id.as_ref().unwrap()).unwrap());
    assert_eq!((one.status.as_str(), two.status.as_str()), ("completed", "completed"));
    assert_eq!(two.parent.as_ref(), Some(&one.id));
    let verifier = std::sync::Arc::clone(&provider);
    let report = tokio::task::spawn_blocking(move || verifier.verify(None))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.damage, []);
    assert!(fake.calls("GetSnapshotBlock") >= sent);
    // The older cache goes first, as after a change of the spec; its snapshot carries the newer one.
    for (spec, left) in [(old, 2), (new, 0)] {
        provider.delete(&CacheKey::new("owner", &spec)).await.unwrap();
        assert_eq!(fake.snapshots().len(), left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_stalls_with_the_missing_right_and_goes_on_later() {
    let (registry, fake) = (FakeRegistry::start().await.unwrap(), FakeEbs::start().await.unwrap());
    registry.push("app", "1", &Image::new(vec![layer(1, 2 * MIB)]));
    let directory = tempfile::tempdir().unwrap();
    let provider = open_on_ebs(directory.path(), TestClock::new().clock(), &fake);
    let wanted = spec(&format!("{}/app:1", registry.host()));
    fake.inject_every("PutSnapshotBlock", Fault::AccessDenied, 1);
    let stalled = build(&provider, "owner", &wanted).await;
    let failure = stalled.phase.failure().unwrap();
    assert!(failure.message.contains("ebs:PutSnapshotBlock"), "{}", failure.message);
    assert!(matches!(stalled.phase, Phase::Stalled(_)), "{:?}", stalled.phase);
    fake.heal();
    let ready = build(&provider, "owner", &wanted).await;
    assert_eq!(ready.phase, Phase::Ready, "{:?}", ready.events);
    assert_eq!(fake.started(), 1, "the same snapshot goes on");
}
