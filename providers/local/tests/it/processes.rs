//! Several builders over one store, and builders that die.

use std::sync::Arc;

use imagecache_blocks::verify;
use imagecache_core::{CacheKey, CacheProvider as _, Phase, system_clock};
use imagecache_fakes::image::{Compression, Image, LayerBuilder};
use imagecache_fakes::registry::FakeRegistry;

use crate::support::{Gate, build, noise, open, spec};

fn image() -> Image {
    let layer = |n: u64| {
        LayerBuilder::new()
            .file(&format!("f{n}"), &noise(n, 400_000), 0o644)
            .build(Compression::Gzip)
    };
    Image::new((0..4).map(layer).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_builders_of_one_image_fetch_each_layer_once() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let image = image();
    let reference = registry.push("a", "1", &image);
    let providers = [
        open(directory.path(), system_clock()),
        open(directory.path(), system_clock()),
    ];
    let builds = providers.iter().enumerate().map(|(n, provider)| {
        let (provider, spec) = (Arc::clone(provider), spec(&reference));
        tokio::spawn(async move { build(&provider, &format!("owner-{n}"), &spec).await })
    });
    for build in builds.collect::<Vec<_>>() {
        let state = build.await.unwrap();
        assert_eq!(state.phase, Phase::Ready, "{state:?}");
    }
    for layer in &image.layers {
        assert_eq!(registry.count(&layer.blob.digest), 1, "{}", layer.blob.digest);
    }
    assert!(
        verify(providers[0].store(), None, &mut |_| {})
            .unwrap()
            .damage
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_cache_is_built_by_one_and_seen_by_the_other() {
    let registry = FakeRegistry::start().await.unwrap();
    let gate = Gate::before(&registry).await;
    let directory = tempfile::tempdir().unwrap();
    registry.push("a", "1", &image());
    let spec = spec(&format!("{}/a:1", gate.address));
    let key = CacheKey::new("x", &spec);
    let (builder, watcher) = (
        open(directory.path(), system_clock()),
        open(directory.path(), system_clock()),
    );
    builder.ensure(&key, &spec).await.unwrap();
    let seen = watcher.get(&key).await.unwrap().unwrap();
    assert!(matches!(seen.phase, Phase::Pending | Phase::Creating), "{seen:?}");
    assert_eq!(watcher.ensure(&key, &spec).await.unwrap().phase, seen.phase);
    assert_eq!(watcher.builds_started(), 0);
    gate.set(true);
    builder.idle().await;
    assert_eq!(watcher.get(&key).await.unwrap().unwrap().phase, Phase::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_delete_from_elsewhere_ends_the_build() {
    let registry = FakeRegistry::start().await.unwrap();
    let gate = Gate::before(&registry).await;
    let directory = tempfile::tempdir().unwrap();
    registry.push("a", "1", &image());
    let spec = spec(&format!("{}/a:1", gate.address));
    let key = CacheKey::new("x", &spec);
    let (builder, other) = (
        open(directory.path(), system_clock()),
        open(directory.path(), system_clock()),
    );
    builder.ensure(&key, &spec).await.unwrap();
    other.delete(&key).await.unwrap();
    gate.set(true);
    builder.idle().await;
    for provider in [&builder, &other] {
        assert_eq!(provider.get(&key).await.unwrap(), None);
        assert_eq!(provider.list().await.unwrap(), []);
    }
    assert_eq!(
        std::fs::read_dir(directory.path().join("layers")).unwrap().count(),
        0,
        "nothing is left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_interrupted_build_is_seen_as_such_and_resumes() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let image = image();
    let reference = registry.push("a", "1", &image);
    let key = CacheKey::new("x", &spec(&reference));
    for round in 0..8_u64 {
        let provider = open(directory.path(), system_clock());
        let phase = provider.ensure(&key, &spec(&reference)).await.unwrap().phase;
        if phase == Phase::Ready {
            break;
        }
        // Each round dies a little later.
        while registry.requests().len() < 2 * usize::try_from(round).unwrap()
            && provider.get(&key).await.unwrap().unwrap().phase != Phase::Ready
        {
            tokio::task::yield_now().await;
        }
        provider.shut_down().await;
        let state = open(directory.path(), system_clock()).get(&key).await.unwrap().unwrap();
        assert!(
            matches!(state.phase, Phase::Stalled(_) | Phase::Ready),
            "{round}: {:?}",
            state.phase
        );
        drop(provider);
    }
    let provider = open(directory.path(), system_clock());
    assert_eq!(build(&provider, "x", &spec(&reference)).await.phase, Phase::Ready);
    assert!(verify(provider.store(), None, &mut |_| {}).unwrap().damage.is_empty());
    drop(provider);
    assert_eq!(
        std::fs::read_dir(directory.path().join("tmp")).unwrap().count(),
        0,
        "nothing is left over"
    );
}
