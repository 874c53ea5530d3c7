//! What a chain of layers means: inherited directories and links into lower layers.

use imagecache_blocks::mount::{mount_image, unmount};
use imagecache_blocks::{Part, Store as _, image_stack};
use imagecache_core::{CacheState, Phase, system_clock};
use imagecache_erofs::reader::Image as Reader;
use imagecache_fakes::image::{Compression, Image, Layer, LayerBuilder};
use imagecache_fakes::registry::FakeRegistry;
use imagecache_local::LocalProvider;

use crate::support::{build, open, spec};

async fn built(layers: Vec<Layer>) -> (tempfile::TempDir, std::sync::Arc<LocalProvider>, CacheState) {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let reference = registry.push("a", "1", &Image::new(layers));
    let provider = open(directory.path(), system_clock());
    let state = build(&provider, "x", &spec(&reference)).await;
    assert_eq!(state.phase, Phase::Ready, "{state:?}");
    (directory, provider, state)
}

fn parts(provider: &LocalProvider, state: &CacheState) -> Vec<Part> {
    image_stack(provider.store(), &state.resolved.first().unwrap().manifest)
        .unwrap()
        .parts
}

fn is_patch(part: &Part) -> bool {
    matches!(part, Part::Patch(_))
}

fn private_directory() -> Layer {
    LayerBuilder::new()
        .dir("srv/", 0o711)
        .dir("srv/data/", 0o700)
        .file("srv/data/old", b"old", 0o640)
        .build(Compression::Gzip)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_implied_directory_inherits_through_several_layers() {
    let implied = |name: &str| LayerBuilder::new().file(name, b"new", 0o644).build(Compression::Gzip);
    let layers = vec![private_directory(), implied("srv/data/one"), implied("srv/data/two")];
    let (_directory, provider, state) = built(layers).await;
    let parts = parts(&provider, &state);
    assert_eq!(
        parts.iter().map(is_patch).collect::<Vec<_>>(),
        [true, false, true, false, false]
    );
    for part in parts.iter().filter(|part| is_patch(part)) {
        let image = Reader::open(std::fs::File::open(provider.store().part_path(part)).unwrap()).unwrap();
        for (path, mode) in [("srv/data", 0o700), ("srv", 0o711), ("", 0o755)] {
            let inode = image.lookup(path.as_bytes()).unwrap().unwrap();
            assert_eq!(inode.mode, mode, "{path} in {part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_patch_where_defaults_are_right() {
    let base = LayerBuilder::new().dir("srv/", 0o755).build(Compression::Gzip);
    let top = LayerBuilder::new()
        .file("srv/new", b"new", 0o644)
        .build(Compression::Gzip);
    let (_directory, provider, state) = built(vec![base, top]).await;
    assert_eq!(parts(&provider, &state).iter().filter(|part| is_patch(part)).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_lower_layers_file_is_that_file() {
    let top = LayerBuilder::new()
        .hardlink("bin/alias", "srv/data/old")
        .build(Compression::Gzip);
    let (_directory, provider, state) = built(vec![private_directory(), top]).await;
    let parts = parts(&provider, &state);
    assert!(is_patch(&parts[0]), "{parts:?}");
    let image = Reader::open(std::fs::File::open(provider.store().part_path(&parts[0])).unwrap()).unwrap();
    let (alias, old) = (
        image.lookup(b"bin/alias").unwrap().unwrap(),
        image.lookup(b"srv/data/old").unwrap().unwrap(),
    );
    assert_eq!((alias.nid, alias.links, alias.mode, alias.size), (old.nid, 2, 0o640, 3));
    assert_eq!(image.lookup(b"srv/data").unwrap().unwrap().mode, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_nothing_is_a_clear_failure() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let base = LayerBuilder::new().file("gone", b"x", 0o644).build(Compression::Gzip);
    let hides = LayerBuilder::new().whiteout("gone").build(Compression::Gzip);
    let links = LayerBuilder::new().hardlink("alias", "gone").build(Compression::Gzip);
    let reference = registry.push("a", "1", &Image::new(vec![base, hides, links]));
    let state = build(&open(directory.path(), system_clock()), "x", &spec(&reference)).await;
    match &state.phase {
        Phase::Failed(failure) => assert!(
            failure.message.contains("\"gone\"") && failure.message.contains("layer 3"),
            "{failure:?}"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn the_mounted_root_is_the_merged_chain() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let middle = LayerBuilder::new()
        .file("srv/data/new", b"new", 0o600)
        .whiteout("srv/data/old")
        .build(Compression::Gzip);
    let top = LayerBuilder::new()
        .hardlink("alias", "srv/data/new")
        .build(Compression::Gzip);
    let (_directory, provider, state) = built(vec![private_directory(), middle, top]).await;
    let stack = image_stack(provider.store(), &state.resolved.first().unwrap().manifest).unwrap();
    let target = tempfile::tempdir().unwrap();
    mount_image(provider.store(), &stack, target.path()).unwrap();
    let meta = |path: &str| std::fs::metadata(target.path().join(path));
    let found = (
        meta("srv").unwrap().permissions().mode() & 0o7777,
        meta("srv/data").unwrap().permissions().mode() & 0o7777,
        meta("srv/data/old").is_err(),
        std::fs::read(target.path().join("alias")).unwrap(),
        (
            meta("alias").unwrap().nlink(),
            meta("alias").unwrap().ino() == meta("srv/data/new").unwrap().ino(),
        ),
    );
    unmount(target.path()).unwrap();
    assert_eq!(found, (0o711, 0o700, true, b"new".to_vec(), (2, true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_root_hides_the_layers_below() {
    let opaque = LayerBuilder::new()
        .file(".wh..wh..opq", b"", 0o644)
        .file("only", b"x", 0o644)
        .build(Compression::Gzip);
    let (_directory, provider, state) = built(vec![private_directory(), opaque]).await;
    assert_eq!(parts(&provider, &state).len(), 1);
    assert!(
        provider
            .store()
            .layer(parts(&provider, &state)[0].digest())
            .unwrap()
            .is_some()
    );
}
