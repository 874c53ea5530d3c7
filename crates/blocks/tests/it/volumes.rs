//! Volumes: their layout, what they share with older ones, and what an export holds.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::Command;

use imagecache_blocks::{
    BLOCK_BYTES, BlockDigest, DirectoryStore, SnapshotManifest, Source, Store as _, export, write_snapshot,
};
use imagecache_erofs::reader::Image;

use crate::support::{content, noise, put_cache, put_layer, store};

fn exported(store: &DirectoryStore, manifest: &SnapshotManifest) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    export(store, store, manifest, None, file.as_file(), file.path()).unwrap();
    file
}

fn two_layers(store: &DirectoryStore) -> SnapshotManifest {
    let base = put_layer(
        store,
        &[
            ("usr/", vec![]),
            ("usr/big", noise(1, 1_300_000)),
            ("etc/motd", b"hello".to_vec()),
        ],
    );
    let top = put_layer(store, &[("app/", vec![]), ("app/run", noise(2, 70_000))]);
    put_cache(store, "app:1", &[&base, &top]).1
}

#[test]
fn an_export_is_byte_equal_to_the_manifest_and_sparse() {
    let (_directory, store) = store();
    let manifest = two_layers(&store);
    let file = exported(&store, &manifest);
    let bytes = fs::read(file.path()).unwrap();
    assert_eq!(bytes.len() as u64, manifest.volume_bytes);
    let digests: Vec<BlockDigest> = bytes.chunks(BLOCK_BYTES as usize).map(BlockDigest::of).collect();
    assert_eq!(digests, manifest.blocks);
    assert!(
        bytes.len() as u64 > manifest.content_bytes(),
        "the layout leaves room, so there are zeros"
    );
    // Exporting over something larger leaves nothing of it.
    let mut old = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut old, &vec![0xff; bytes.len() + 9999]).unwrap();
    export(&store, &store, &manifest, None, old.as_file(), old.path()).unwrap();
    assert!(fs::read(old.path()).unwrap() == bytes);
}

#[test]
fn the_volume_holds_the_layer_images_and_an_oci_layout() {
    let (_directory, store) = store();
    let manifest = two_layers(&store);
    let file = exported(&store, &manifest);
    let image = Image::open(File::open(file.path()).unwrap()).unwrap();
    let read = |path: &str| {
        let inode = image
            .lookup(path.as_bytes())
            .unwrap()
            .unwrap_or_else(|| panic!("{path} is missing"));
        let mut bytes = Vec::new();
        image.file(&inode).read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(read("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(imagecache_core::Digest::sha256_of(&read("index.json")), manifest.index);
    let mut layers = 0;
    for (part, extent) in manifest.parts() {
        let path = part.image_path();
        assert!(
            read(path.to_str().unwrap()) == fs::read(store.part_path(&part)).unwrap(),
            "{part}"
        );
        assert_eq!(
            read(part.record_path().to_str().unwrap()),
            fs::read(store.root().join(part.record_path())).unwrap()
        );
        let inode = image.lookup(path.to_str().unwrap().as_bytes()).unwrap().unwrap();
        assert_eq!(
            u64::from(inode.start_block) * 4096,
            extent.first_block * BLOCK_BYTES,
            "{part} is at its boundary"
        );
        layers += 1;
    }
    assert_eq!(layers, 2);
}

#[test]
fn equal_content_gives_equal_ids() {
    let ids: Vec<_> = (0..2)
        .map(|_| {
            let (_directory, store) = store();
            two_layers(&store).id
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_rebuilt_cache_shares_the_blocks_of_layers_that_stay() {
    let (_directory, store) = store();
    let base = put_layer(&store, &[("base", noise(1, 4_000_000))]);
    let old = put_layer(&store, &[("old", noise(2, 1_000_000))]);
    let new = put_layer(&store, &[("new", noise(3, 600_000))]);
    let first = write_snapshot(&store, &content(&store, "app:1", &[&base, &old]), None).unwrap();
    let second = write_snapshot(&store, &content(&store, "app:2", &[&new, &base]), Some(&first)).unwrap();
    let same = first
        .blocks
        .iter()
        .zip(&second.blocks)
        .filter(|(a, b)| a == b && **a != BlockDigest::ZERO)
        .count();
    assert!(
        same as u64 >= base.blocks.count(),
        "{same} of {} blocks stayed",
        first.blocks.len()
    );
    let place = |manifest: &SnapshotManifest, layer: &imagecache_blocks::LayerRecord| {
        let source = Source::Layer(layer.diff_id.clone());
        manifest
            .extents
            .iter()
            .find(|extent| extent.source == source)
            .unwrap()
            .first_block
    };
    assert_eq!(place(&first, &base), place(&second, &base));
    assert_eq!(
        place(&first, &old),
        place(&second, &new),
        "the gap of the removed layer is used"
    );
    assert!(exported(&store, &second).path().exists());
}

#[test]
fn an_export_names_the_file_that_is_damaged() {
    let (_directory, store) = store();
    let manifest = two_layers(&store);
    let (part, _) = manifest.parts().next().unwrap();
    let path = store.part_path(&part);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = export(&store, &store, &manifest, None, file.as_file(), file.path()).unwrap_err();
    assert!(error.to_string().contains(part.digest().hex()), "{error}");
}

#[test]
fn own_bytes_are_all_that_a_snapshot_keeps() {
    let (_directory, store) = store();
    let manifest = two_layers(&store);
    let own = File::open(store.own_path(&manifest.id)).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    let on_disk = own.metadata().unwrap().blocks() * 512;
    assert!(on_disk < BLOCK_BYTES, "{on_disk} bytes for the volume's own metadata");
    let mut first = [0; 4];
    (&own).seek(SeekFrom::Start(1024)).unwrap();
    (&own).read_exact(&mut first).unwrap();
    assert_eq!(u32::from_le_bytes(first), 0xE0F5_E1E2);
    assert!(store.open_own(&manifest.id).is_ok());
}

#[test]
#[ignore = "needs fsck.erofs"]
fn fsck_accepts_the_volume_and_every_layer() {
    let (_directory, store) = store();
    let manifest = two_layers(&store);
    let file = exported(&store, &manifest);
    let mut paths: Vec<_> = manifest.parts().map(|(part, _)| store.part_path(&part)).collect();
    paths.push(file.path().to_owned());
    for path in paths {
        let output = Command::new("fsck.erofs").arg(&path).output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
