//! A process that dies at each step of publishing leaves either nothing visible or a whole part.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use imagecache_core::Digest;

use super::{DirectoryStore, MARKER, TMP};
use crate::block::{BLOCK, BlockDigest};
use crate::content::{INDEX_FILE, OCI_LAYOUT};
use crate::part::Part;
use crate::record::{LayerRecord, PartRecord};
use crate::snapshot::{Extent, SnapshotManifest, Source};
use crate::store::Store as _;

const STORE: &str = "BLOCKS_CRASH_STORE";
const AT: &str = "BLOCKS_CRASH_AT";

fn content() -> Vec<u8> {
    (0..BLOCK * 2 + 4096).map(|n| (n % 253) as u8).collect()
}

fn publish(store: &DirectoryStore) -> LayerRecord {
    let diff_id = Digest::sha256_of(b"layer");
    let mut writer = store.part_writer(&Part::Layer(diff_id.clone())).unwrap();
    writer.write_all(&content()).unwrap();
    match writer
        .publish(|blocks| PartRecord::Layer(LayerRecord::new(diff_id, blocks)))
        .unwrap()
    {
        PartRecord::Layer(record) => record,
        PartRecord::Patch(_) => unreachable!(),
    }
}

fn snapshot(store: &DirectoryStore) -> SnapshotManifest {
    let blocks = vec![BlockDigest::of(&[1; BLOCK])];
    let extents = vec![Extent {
        first_block: 0,
        blocks: 1,
        source: Source::Own,
    }];
    let manifest = SnapshotManifest::new(blocks, extents, Digest::sha256_of(b""));
    store.put_snapshot(&manifest, &[(0, vec![1; BLOCK])]).unwrap();
    manifest
}

/// Runs in a process of its own that dies on the way; alone it proves that the steps work.
#[test]
fn part_and_snapshot_are_published() {
    let own = tempfile::tempdir().unwrap();
    let root = std::env::var_os(STORE).map_or_else(|| own.path().to_owned(), PathBuf::from);
    let store = DirectoryStore::open(root).unwrap();
    let record = publish(&store);
    assert_eq!(store.layer(&record.diff_id).unwrap(), Some(record));
    let manifest = snapshot(&store);
    assert_eq!(store.snapshot(&manifest.id).unwrap(), Some(manifest));
}

fn die_at(step: &str, root: &Path) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "directory::crash_tests::part_and_snapshot_are_published"])
        .env(STORE, root)
        .env(AT, step)
        .output()
        .unwrap()
        .status;
    assert!(!status.success(), "the process must die at `{step}`");
}

#[test]
fn dying_at_any_step_leaves_all_or_nothing() {
    let diff_id = Digest::sha256_of(b"layer");
    for (step, layer_is_there) in [
        ("file written", false),
        ("part synced", false),
        ("part renamed", false),
        ("part durable", false),
        ("record written", true),
        ("snapshot written", true),
        ("snapshot renamed", true),
    ] {
        let root = tempfile::tempdir().unwrap();
        // Made here, so that the first file that the other process writes is one of the part's.
        DirectoryStore::open(root.path()).unwrap();
        die_at(step, root.path());
        let store = DirectoryStore::open(root.path()).unwrap();
        assert_eq!(store.layer(&diff_id).unwrap().is_some(), layer_is_there, "{step}");
        // Nobody references anything: all that is left must go.
        store.collect_garbage().unwrap();
        assert_eq!(leftovers(&store), Vec::<PathBuf>::new(), "{step}");
        let record = publish(&store);
        assert_eq!(store.layer(&diff_id).unwrap(), Some(record), "{step}: again");
        snapshot(&store);
    }
}

/// Each process that makes the store dies at its first file: the next one goes on from there.
#[test]
fn dying_while_the_store_is_made_is_no_obstacle() {
    let root = tempfile::tempdir().unwrap();
    for file in [MARKER, OCI_LAYOUT.0, INDEX_FILE] {
        assert!(!root.path().join(file).exists(), "{file} came too early");
        die_at("file renamed", root.path());
        assert!(root.path().join(file).exists(), "{file} must be next");
    }
    let store = DirectoryStore::open(root.path()).unwrap();
    publish(&store);
}

fn leftovers(store: &DirectoryStore) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for top in ["layers", "patches", "snapshots", TMP] {
        let mut pending = vec![store.path(top)];
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => pending.push(entry.path()),
                    // This process's own scratch lock.
                    false if entry.file_name() == "lock" => {}
                    false => found.push(entry.path()),
                }
            }
        }
    }
    found
}
