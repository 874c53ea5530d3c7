//! Registries that lie, disks that fill up, layers that attack.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use imagecache_blocks::{DirectoryStore, Part};
use imagecache_core::{CacheKey, CacheProvider as _, ErrorKind, Phase, system_clock};
use imagecache_fakes::image::{Compression, Image, LayerBuilder};
use imagecache_fakes::registry::{FakeRegistry, Fault, FaultKind};
use imagecache_local::ByteSize;

use crate::support::{build, noise, open, open_with, spec};

fn image(bytes: usize) -> Image {
    Image::new(vec![
        LayerBuilder::new()
            .file("file", &noise(7, bytes), 0o644)
            .build(Compression::Gzip),
    ])
}

fn layer_path(image: &Image) -> String {
    format!("/blobs/{}", image.layers[0].blob.digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_registry_have_the_right_end() {
    let image = image(300_000);
    let blob = layer_path(&image);
    type Expected = fn(&Phase) -> bool;
    let rows: [(&str, Fault, Expected); 6] = [
        (
            "wrong bytes once",
            Fault::on(&blob, FaultKind::WrongBytes).times(1),
            |phase| *phase == Phase::Ready,
        ),
        (
            "wrong bytes for ever",
            Fault::on(&blob, FaultKind::WrongBytes),
            |phase| matches!(phase, Phase::Failed(f) if f.message.contains("digest")),
        ),
        (
            "layer missing",
            Fault::on(&blob, FaultKind::Status(404)),
            |phase| matches!(phase, Phase::Failed(f) if f.kind == ErrorKind::NotFound),
        ),
        (
            "no permission",
            Fault::on("/manifests/", FaultKind::Status(403)),
            |phase| matches!(phase, Phase::Failed(f) if f.kind == ErrorKind::PermissionDenied),
        ),
        (
            "down",
            Fault::on(&blob, FaultKind::Status(500)),
            |phase| matches!(phase, Phase::Stalled(f) if f.kind == ErrorKind::Unavailable),
        ),
        (
            "cut once",
            Fault::on(&blob, FaultKind::TruncateAt(1000)).times(1),
            |phase| *phase == Phase::Ready,
        ),
    ];
    for (name, fault, expected) in rows {
        let registry = FakeRegistry::start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let reference = registry.push("a", "1", &image);
        registry.inject(fault);
        let provider = open(directory.path(), system_clock());
        let state = build(&provider, "x", &spec(&reference)).await;
        assert!(expected(&state.phase), "{name}: {:?}", state.phase);
        if let Some(failure) = state.phase.failure() {
            assert!(
                state.events.iter().any(|event| event.message == failure.message),
                "{name}: no event"
            );
            assert!(
                failure.message.contains("/a:1"),
                "{name}: names no image: {}",
                failure.message
            );
        }
        if matches!(state.phase, Phase::Stalled(_)) {
            registry.heal();
            assert_eq!(
                build(&provider, "x", &spec(&reference)).await.phase,
                Phase::Ready,
                "{name}: healed"
            );
        }
        assert_eq!(
            std::fs::read_dir(directory.path().join("locks")).unwrap().count(),
            1,
            "{name}: locks are freed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused_before_it_fills_the_disk() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let bomb = LayerBuilder::new()
        .file("zeros", &vec![0; 64 << 20], 0o644)
        .build(Compression::Gzip);
    let reference = registry.push("bomb", "1", &Image::new(vec![bomb]));
    let provider = open_with(directory.path(), system_clock(), |config| {
        config.limits.bomb_floor = ByteSize(1 << 20);
        config.limits.bomb_ratio = 20;
    });
    let state = build(&provider, "x", &spec(&reference)).await;
    assert!(matches!(state.phase, Phase::Failed(_)), "{:?}", state.phase);
    assert_eq!(std::fs::read_dir(directory.path().join("layers")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_are_a_clear_failure_or_harmless() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let long = format!("{}/x", vec!["d"; 10_000].join("/"));
    let layer = LayerBuilder::new().file(&long, b"x", 0o644).build(Compression::Gzip);
    let reference = registry.push("deep", "1", &Image::new(vec![layer]));
    let state = build(&open(directory.path(), system_clock()), "x", &spec(&reference)).await;
    match &state.phase {
        Phase::Failed(failure) => assert!(
            failure.message.contains("layer 1 of image") && failure.message.len() < 2000,
            "{failure:?}"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_full_disk_stalls_and_room_lets_it_finish() {
    struct Disk(tempfile::TempDir);
    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }
    let run = |arguments: &[&str]| assert!(Command::new("mount").args(arguments).status().unwrap().success());
    let disk = Disk(tempfile::tempdir().unwrap());
    let path = disk.0.path().to_str().unwrap().to_owned();
    run(&["-t", "tmpfs", "-o", "size=6m", "tmpfs", &path]);
    let registry = FakeRegistry::start().await.unwrap();
    let small = LayerBuilder::new()
        .file("small", &noise(1, 2_000_000), 0o644)
        .build(Compression::Gzip);
    let large = LayerBuilder::new()
        .file("large", &noise(2, 12_000_000), 0o644)
        .build(Compression::Gzip);
    let reference = registry.push("a", "1", &Image::new(vec![small.clone(), large]));
    let provider = open_with(disk.0.path(), system_clock(), |config| config.concurrency = Some(1));
    let key = CacheKey::new("x", &spec(&reference));
    let state = build(&provider, "x", &spec(&reference)).await;
    match &state.phase {
        Phase::Stalled(failure) => {
            assert_eq!(failure.kind, ErrorKind::QuotaExceeded, "{failure:?}");
            assert!(
                failure.message.contains("no space left") && failure.message.contains(&path),
                "{failure:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    run(&["-o", "remount,size=64m", &path]);
    assert_eq!(build(&provider, "x", &spec(&reference)).await.phase, Phase::Ready);
    provider.delete(&key).await.unwrap();
    drop(provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_was_found_damaged_is_fetched_again() {
    let registry = FakeRegistry::start().await.unwrap();
    let image = image(300_000);
    let reference = registry.push("app", "1", &image);
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), system_clock());
    let spec = spec(&reference);
    let first = build(&provider, "owner", &spec).await;
    assert_eq!(first.phase, Phase::Ready);
    let part = Part::Layer(image.layers[0].diff_id.parse().unwrap());
    let path = provider.store().part_path(&part);
    let sound = fs::read(&path).unwrap();
    let mut damaged = sound.clone();
    damaged[150_000] ^= 1;
    fs::write(&path, damaged).unwrap();
    // As a node does it, which is another process.
    let other = DirectoryStore::open(provider.store().root()).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(
        other.quarantine(&part, Some(inode)).unwrap(),
        Some(vec![first.id.clone()])
    );
    let state = provider.get(&first.key).await.unwrap().unwrap();
    assert!(
        matches!(&state.phase, Phase::Stalled(failure) if failure.message.contains("damaged")),
        "{state:?}"
    );
    let again = build(&provider, "owner", &spec).await;
    assert_eq!((again.phase, again.snapshot_id), (Phase::Ready, first.snapshot_id));
    assert!(fs::read(&path).unwrap() == sound);
    assert_eq!(registry.count(&layer_path(&image)), 2, "fetched twice");
}
