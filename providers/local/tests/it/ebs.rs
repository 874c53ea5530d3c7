//! Caches whose snapshots are kept in EBS, through the provider.

use imagecache_core::{CacheKey, CacheProvider as _, CacheState, Phase};
use imagecache_fakes::ebs::{FakeEbs, Fault};
use imagecache_fakes::image::{Compression, Image, LayerBuilder};
use imagecache_fakes::registry::{FakeRegistry, Fault as RegistryFault, FaultKind};
use imagecache_oci::{OCI_LAYER, OCI_LAYER_GZIP};

use crate::support::{Gate, TestClock, build, noise, open_on_ebs, spec};

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

#[tokio::test(flavor = "multi_thread")]
async fn finished_layers_are_sent_while_others_are_fetched() {
    let (registry, fake) = (FakeRegistry::start().await.unwrap(), FakeEbs::start().await.unwrap());
    let layers = [layer(1, 2 * MIB), layer(2, 20 * MIB), layer(3, 6 * MIB)];
    registry.push("app", "1", &Image::new(layers.to_vec()));
    let gate = Gate::before(&registry).await;
    let elsewhere = FaultKind::RedirectTo(format!("http://{}", gate.address));
    let held = &layers[0].blob.digest;
    registry.inject(RegistryFault::on(held, elsewhere).times(1));
    let directory = tempfile::tempdir().unwrap();
    let provider = open_on_ebs(directory.path(), TestClock::new().clock(), &fake);
    let wanted = spec(&format!("{}/app:1", registry.host()));
    let key = CacheKey::new("owner", &wanted);
    provider.ensure(&key, &wanted).await.unwrap();
    // All of the two layers that are there: 26 MiB.
    let said = |state: &CacheState| -> Option<u64> {
        let (sent, _) = state
            .activity
            .as_ref()?
            .strip_prefix("sent ")?
            .split_once(" MiB of finished layers")?;
        sent.parse().ok()
    };
    loop {
        let state = provider.get(&key).await.unwrap().unwrap();
        assert_eq!(state.phase.failure(), None);
        if fake.bytes() >= 26 << 20 && said(&state) >= Some(26) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(fake.snapshots()[0].status, "pending");
    gate.set(true);
    provider.idle().await;
    let ready = provider.get(&key).await.unwrap().unwrap();
    assert_eq!(ready.phase, Phase::Ready, "{:?}", ready.events);
    let snapshot = fake.snapshot(ready.snapshot_id.as_ref().unwrap()).unwrap();
    assert_eq!((fake.started(), snapshot.gib), (1, 1));
    assert!(
        snapshot.puts.values().all(|puts| puts.accepted == 1),
        "nothing is sent twice: {:?}",
        snapshot.puts
    );
    let verifier = std::sync::Arc::clone(&provider);
    let report = tokio::task::spawn_blocking(move || verifier.verify(None));
    assert_eq!(report.await.unwrap().unwrap().damage, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_has_room_for_what_layers_unpack_to() {
    // 20 layers of 20 MiB are still to come when the first is sent.
    for (media_type, gib) in [(OCI_LAYER, 1), (OCI_LAYER_GZIP, 2)] {
        let (registry, fake) = (FakeRegistry::start().await.unwrap(), FakeEbs::start().await.unwrap());
        let coming: Vec<_> = (2..22)
            .map(|seed| layer(seed, 10).with_media_type(media_type))
            .collect();
        let image = Image::new([vec![layer(1, 21 * MIB)], coming.clone()].concat());
        let image = (1..=coming.len()).fold(image, |image, layer| image.with_layer_size(layer, 20 << 20));
        registry.push("app", "1", &image);
        let gate = Gate::before(&registry).await;
        for layer in &coming {
            let elsewhere = FaultKind::RedirectTo(format!("http://{}", gate.address));
            registry.inject(RegistryFault::on(&layer.blob.digest, elsewhere));
        }
        let directory = tempfile::tempdir().unwrap();
        let provider = open_on_ebs(directory.path(), TestClock::new().clock(), &fake);
        let wanted = spec(&format!("{}/app:1", registry.host()));
        let key = CacheKey::new("owner", &wanted);
        provider.ensure(&key, &wanted).await.unwrap();
        while fake.started() == 0 {
            let state = provider.get(&key).await.unwrap().unwrap();
            assert_eq!(state.phase.failure(), None, "{media_type}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(fake.snapshots()[0].gib, gib, "{media_type}");
        provider.delete(&key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stalled_build_left_is_removed() {
    let (registry, fake) = (FakeRegistry::start().await.unwrap(), FakeEbs::start().await.unwrap());
    registry.push("app", "1", &Image::new(vec![layer(1, 2 * MIB)]));
    let directory = tempfile::tempdir().unwrap();
    let provider = open_on_ebs(directory.path(), TestClock::new().clock(), &fake);
    let tending = tokio::spawn(imagecache_local::LocalProvider::tend(std::sync::Arc::downgrade(
        &provider,
    )));
    while fake.calls("DescribeSnapshots") == 0 {
        tokio::task::yield_now().await;
    }
    tending.abort();
    fake.fail_next_completion("the key is gone");
    let stalled = build(&provider, "owner", &spec(&format!("{}/app:1", registry.host()))).await;
    assert!(matches!(stalled.phase, Phase::Stalled(_)), "{:?}", stalled.phase);
    assert_eq!(fake.snapshots().len(), 1);
    let tending = tokio::spawn(imagecache_local::LocalProvider::tend(std::sync::Arc::downgrade(
        &provider,
    )));
    while !fake.snapshots().is_empty() {
        assert!(!tending.is_finished());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    tending.abort();
}
