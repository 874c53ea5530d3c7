//! What is fetched, what is reused, what is shared.

use imagecache_blocks::{Store as _, verify};
use imagecache_core::{CacheKey, CacheProvider as _, Phase, system_clock};
use imagecache_fakes::image::{Compression, Image, Layer, LayerBuilder};
use imagecache_fakes::registry::FakeRegistry;

use crate::support::{build, noise, open, open_with, spec};

fn layer(name: &str, bytes: usize, compression: Compression) -> Layer {
    LayerBuilder::new()
        .file(name, &noise(name.len() as u64, bytes), 0o644)
        .build(compression)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_layer_is_not_downloaded_again() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let base = layer("base", 2_000_000, Compression::Gzip);
    let top = layer("patch", 10_000, Compression::Zstd);
    let first = registry.push("app", "1", &Image::new(vec![base.clone()]));
    let second = registry.push("app", "2", &Image::new(vec![base.clone(), top.clone()]));
    let provider = open(directory.path(), system_clock());
    let one = build(&provider, "owner", &spec(&first)).await;
    assert_eq!(one.phase, Phase::Ready, "{one:?}");
    let two = build(&provider, "owner", &spec(&second)).await;
    assert_eq!(two.phase, Phase::Ready, "{two:?}");
    assert_eq!(registry.count(&base.blob.digest), 1, "the shared layer");
    assert_eq!(registry.count(&top.blob.digest), 1, "the new layer");
    assert!(
        two.events.iter().any(|event| event.reason == "LayerReused"),
        "{:?}",
        two.events
    );
    // The rebuilt cache shares the layer's blocks, at their places.
    let manifests = [&one, &two].map(|state| {
        let id = state.snapshot_id.as_ref().unwrap().parse().unwrap();
        provider.store().snapshot(&id).unwrap().unwrap()
    });
    let place = |n: usize| {
        manifests[n].extents.iter().find(|extent| {
            extent
                .source
                .part()
                .is_some_and(|part| part.digest().to_string() == base.diff_id)
        })
    };
    assert_eq!(place(0).unwrap(), place(1).unwrap());
    assert!(verify(provider.store(), None, &mut |_| {}).unwrap().damage.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_and_source_gives_the_same_snapshot() {
    let registry = FakeRegistry::start().await.unwrap();
    let tar = layer("file", 1_500_000, Compression::None).tar;
    let archive_file = tempfile::NamedTempFile::new().unwrap();
    let layout = tempfile::tempdir().unwrap();
    let mut parts = Vec::new();
    for (name, compression) in [
        ("plain", Compression::None),
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
    ] {
        let image = Image::new(vec![Layer::from_tar(tar.to_vec(), compression)]);
        let reference = registry.push("app", name, &image);
        let directory = tempfile::tempdir().unwrap();
        let state = build(&open(directory.path(), system_clock()), "x", &spec(&reference)).await;
        assert_eq!(state.phase, Phase::Ready, "{name}: {state:?}");
        let path = directory.path().join("layers/sha256");
        let shard = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
        let image_file = std::fs::read_dir(shard)
            .unwrap()
            .flatten()
            .find(|f| f.path().extension().unwrap() == "erofs");
        parts.push(std::fs::read(image_file.unwrap().path()).unwrap());
    }
    assert!(
        parts.windows(2).all(|pair| pair[0] == pair[1]),
        "layer images depend on the tar only"
    );
    // Without any network: the same image from files, found under its full name.
    let image = Image::new(vec![Layer::from_tar(tar.to_vec(), Compression::Gzip)]);
    let name = "registry.example.com/app:1";
    std::fs::write(archive_file.path(), image.docker_archive(name)).unwrap();
    imagecache_fakes::image::write_layout(layout.path(), &[(name, &image)]).unwrap();
    for source in [
        format!("oci:{}", layout.path().display()),
        format!("docker-archive:{}", archive_file.path().display()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let provider = open_with(directory.path(), system_clock(), |config| {
            config.sources = vec![source.clone()]
        });
        let state = build(&provider, "x", &spec(name)).await;
        assert_eq!(state.phase, Phase::Ready, "{source}: {state:?}");
        assert_eq!(state.resolved.first().unwrap().reference.to_string(), name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_images_share_layers_in_one_volume() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let base = layer("base", 300_000, Compression::Gzip);
    let mut both = spec(&registry.push(
        "a",
        "1",
        &Image::new(vec![base.clone(), layer("a", 5000, Compression::Gzip)]),
    ));
    let other = registry.push(
        "b",
        "1",
        &Image::new(vec![base.clone(), layer("bb", 5000, Compression::Gzip)]),
    );
    both.images.extend(spec(&other).images);
    let provider = open(directory.path(), system_clock());
    let state = build(&provider, "x", &both).await;
    assert_eq!(state.phase, Phase::Ready, "{state:?}");
    assert_eq!(state.resolved.len(), 2);
    let manifest = provider
        .store()
        .snapshot(&state.snapshot_id.unwrap().parse().unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(manifest.parts().count(), 3);
    assert_eq!(registry.count(&base.blob.digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_last_cache_empties_the_store() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let reference = registry.push("a", "1", &Image::new(vec![layer("a", 100_000, Compression::Gzip)]));
    let provider = open(directory.path(), system_clock());
    let state = build(&provider, "x", &spec(&reference)).await;
    assert_eq!(state.phase, Phase::Ready, "{state:?}");
    provider.delete(&CacheKey::new("x", &spec(&reference))).await.unwrap();
    for (name, expected) in [
        ("layers/sha256", 0),
        ("blobs/sha256", 0),
        ("snapshots", 0),
        ("caches", 0),
    ] {
        let count = std::fs::read_dir(directory.path().join(name)).map_or(0, Iterator::count);
        assert_eq!(count, expected, "{name}");
    }
}
