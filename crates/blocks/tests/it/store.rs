//! Parts, blobs, records and the collector.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Barrier;
use std::thread;

use imagecache_blocks::{
    BLOCK_BYTES, BlockDigest, CacheRecord, DirectoryStore, Durability, Error, LayerRecord, Part, PartRecord,
    RecordChange, Store as _,
};
use imagecache_core::{Digest, Phase};
use proptest::prelude::*;

use crate::support::{noise, put_cache, put_layer, put_record, store};

const BLOCK: usize = BLOCK_BYTES as usize;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn written_parts_read_back_with_their_digests(
        pieces in prop::collection::vec((0_usize..700_000, any::<bool>()), 0..6),
        head in prop::option::of((0_u64..BLOCK_BYTES, 1_usize..4096)),
    ) {
        let (_directory, store) = store();
        let part = Part::Layer(Digest::sha256_of(b"part"));
        let mut writer = store.part_writer(&part).unwrap();
        let mut expected = Vec::new();
        for (number, (length, zero)) in pieces.iter().enumerate() {
            let bytes = if *zero { vec![0; *length] } else { noise(number as u64, *length) };
            writer.write_all(&bytes).unwrap();
            expected.extend(bytes);
        }
        if let Some((offset, length)) = head.filter(|(offset, length)| (*offset as usize + length) <= expected.len().min(BLOCK)) {
            writer.seek(SeekFrom::Start(offset)).unwrap();
            writer.write_all(&vec![7; length]).unwrap();
            expected[offset as usize..offset as usize + length].fill(7);
        }
        let record = writer.publish(|blocks| PartRecord::Layer(LayerRecord::new(part.digest().clone(), blocks))).unwrap();
        let digests: Vec<BlockDigest> = expected.chunks(BLOCK).map(BlockDigest::of).collect();
        prop_assert_eq!(&record.blocks().digests, &digests);
        prop_assert_eq!(record.blocks().bytes, expected.len() as u64);
        prop_assert!(fs::read(store.part_path(&part)).unwrap() == expected, "bytes differ");
        prop_assert_eq!(store.layer(part.digest()).unwrap().map(PartRecord::Layer), Some(record));
    }
}

#[test]
fn zeros_take_no_space_and_seeks_forward_are_zeros() {
    let (_directory, store) = store();
    let part = Part::Layer(Digest::sha256_of(b"sparse"));
    let mut writer = store.part_writer(&part).unwrap();
    writer.write_all(b"start").unwrap();
    writer.seek(SeekFrom::Start(64 * BLOCK_BYTES)).unwrap();
    writer.write_all(b"end").unwrap();
    let record = writer
        .publish(|blocks| PartRecord::Layer(LayerRecord::new(part.digest().clone(), blocks)))
        .unwrap();
    assert_eq!(
        record
            .blocks()
            .digests
            .iter()
            .filter(|digest| **digest == BlockDigest::ZERO)
            .count(),
        63
    );
    let meta = fs::metadata(store.part_path(&part)).unwrap();
    assert_eq!(meta.len(), 64 * BLOCK_BYTES + 3);
    assert!(
        meta.blocks() * 512 < 4 * BLOCK_BYTES,
        "{} bytes on disk",
        meta.blocks() * 512
    );
}

#[test]
fn unpublished_parts_leave_nothing() {
    let (directory, store) = store();
    let part = Part::Layer(Digest::sha256_of(b"gone"));
    let mut writer = store.part_writer(&part).unwrap();
    writer.write_all(&noise(1, 3 * BLOCK)).unwrap();
    drop(writer);
    assert!(store.layer(part.digest()).unwrap().is_none());
    drop(store);
    assert_eq!(fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn old_blocks_cannot_be_written_again() {
    let (_directory, store) = store();
    let mut writer = store.part_writer(&Part::Layer(Digest::sha256_of(b"x"))).unwrap();
    writer.write_all(&vec![1; 2 * BLOCK]).unwrap();
    writer.seek(SeekFrom::Start(BLOCK_BYTES + 1)).unwrap();
    assert!(writer.write_all(b"no").is_err());
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "years of work").unwrap();
    assert!(matches!(
        DirectoryStore::open(directory.path()),
        Err(Error::NotAStore { .. })
    ));
    assert!(matches!(
        DirectoryStore::open_read_only(directory.path()),
        Err(Error::NotAStore { .. })
    ));
}

#[test]
fn a_store_may_be_made_by_several_at_once() {
    for round in 0..100 {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("store");
        let start = Barrier::new(8);
        let open = || {
            start.wait();
            DirectoryStore::open(&root).map(drop)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let openers: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        for result in results {
            result.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[test]
fn the_snapshotter_may_live_in_the_directory_before_the_store_does() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("node/s")).unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    DirectoryStore::open(directory.path()).unwrap();
}

#[test]
fn a_newer_layout_is_refused() {
    let (directory, store) = store();
    drop(store);
    fs::write(directory.path().join("imagecache-store.json"), r#"{"version":99}"#).unwrap();
    for result in [
        DirectoryStore::open(directory.path()),
        DirectoryStore::open_read_only(directory.path()),
    ] {
        match result {
            Err(Error::NewerLayout { found, .. }) => assert_eq!(found, 99),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_read_only_store_refuses_every_write() {
    let (directory, store) = store();
    let layer = put_layer(&store, &[("a", b"a".to_vec())]);
    let (id, manifest) = put_cache(&store, "x", &[&layer]);
    let reader = DirectoryStore::open_read_only(directory.path()).unwrap();
    assert_eq!(reader.layer(&layer.diff_id).unwrap(), Some(layer.clone()));
    for (name, result) in [
        (
            "part",
            reader.part_writer(&Part::Layer(layer.diff_id.clone())).map(drop),
        ),
        ("blob", reader.put_blob(&Digest::sha256_of(b"new"), b"new")),
        ("snapshot", reader.put_snapshot(&manifest, &[])),
        ("record", reader.update_record(&id, |_| (RecordChange::Remove, ()))),
        ("collect", reader.collect_garbage().map(drop)),
    ] {
        assert!(matches!(result, Err(Error::ReadOnly { .. })), "{name}: {result:?}");
    }
}

#[test]
fn the_collector_removes_only_what_nobody_uses() {
    let (_directory, store) = store();
    let shared = put_layer(&store, &[("shared", noise(1, 5000))]);
    let first = put_layer(&store, &[("first", noise(2, 5000))]);
    let second = put_layer(&store, &[("second", noise(3, 5000))]);
    let building = put_layer(&store, &[("building", noise(4, 5000))]);
    let (gone, gone_snapshot) = put_cache(&store, "gone", &[&shared, &first]);
    let (kept, kept_snapshot) = put_cache(&store, "kept", &[&shared, &second]);
    put_record(&store, "building", |record| {
        record.state.phase = Phase::Creating;
        record.references.parts.insert(Part::Layer(building.diff_id.clone()));
    });
    assert_eq!(store.collect_garbage().unwrap().bytes, 0, "everything is used");
    store.update_record(&gone, |_| (RecordChange::Remove, ())).unwrap();
    let garbage = store.collect_garbage().unwrap();
    assert_eq!((garbage.parts, garbage.blobs, garbage.snapshots), (1, 2, 1));
    for (name, layer, there) in [
        ("shared", &shared, true),
        ("first", &first, false),
        ("second", &second, true),
        ("building", &building, true),
    ] {
        assert_eq!(store.layer(&layer.diff_id).unwrap().is_some(), there, "{name}");
    }
    assert_eq!(store.snapshot(&gone_snapshot.id).unwrap(), None);
    assert_eq!(store.snapshot(&kept_snapshot.id).unwrap(), Some(kept_snapshot));
    assert!(store.record(&kept).unwrap().is_some_and(|record| record.is_ready()));
}

#[test]
fn the_collector_stops_at_a_record_that_it_cannot_read() {
    let (_directory, store) = store();
    let layer = put_layer(&store, &[("a", b"a".to_vec())]);
    let (id, _) = put_cache(&store, "x", &[&layer]);
    fs::write(store.record_path(&id), "{").unwrap();
    assert!(matches!(store.collect_garbage(), Err(Error::Damaged { .. })));
    assert!(store.layer(&layer.diff_id).unwrap().is_some());
    // Deleting the cache is the way out.
    store.update_record(&id, |_| (RecordChange::Remove, ())).unwrap();
    assert_eq!(store.collect_garbage().unwrap().parts, 1);
}

#[test]
fn a_cache_is_in_the_index_before_it_is_ready() {
    let (directory, store) = store();
    let layer = put_layer(&store, &[("a", b"a".to_vec())]);
    let (id, _) = put_cache(&store, "x", &[&layer]);
    let record = store.record(&id).unwrap().unwrap();
    store.update_record(&id, |_| (RecordChange::Remove, ())).unwrap();
    // An index that cannot be replaced stops the cache from becoming Ready.
    let index = directory.path().join("index.json");
    fs::remove_file(&index).unwrap();
    fs::create_dir_all(index.join("in the way")).unwrap();
    let write = RecordChange::Write(Box::new(record), Durability::Durable);
    assert!(store.update_record(&id, |_| (write, ())).is_err());
    assert_eq!(store.record(&id).unwrap(), None);
}

#[test]
fn the_index_lists_ready_caches_only() {
    let (_directory, store) = store();
    let layer = put_layer(&store, &[("a", b"a".to_vec())]);
    let images = |store: &DirectoryStore| {
        let index = store.top_file("index.json").unwrap();
        let images = imagecache_blocks::stored_images(&index).unwrap();
        images
            .into_iter()
            .map(|image| image.reference.to_string())
            .collect::<Vec<_>>()
    };
    assert!(images(&store).is_empty());
    let (id, _) = put_cache(&store, "ready", &[&layer]);
    put_record(&store, "pending", |_| {});
    assert_eq!(images(&store), ["docker.io/library/ready:latest"]);
    store
        .update_record(&id, |record: Option<CacheRecord>| (RecordChange::Remove, record))
        .unwrap();
    assert!(images(&store).is_empty());
}

#[test]
fn a_damaged_blob_is_replaced() {
    let (_directory, store) = store();
    let digest = Digest::sha256_of(b"blob");
    store.put_blob(&digest, b"blob").unwrap();
    let path = store.root().join("blobs/sha256").join(digest.hex());
    fs::write(&path, "blub").unwrap();
    assert!(matches!(store.blob(&digest), Err(Error::Damaged { .. })));
    store.put_blob(&digest, b"blob").unwrap();
    assert_eq!(store.blob(&digest).unwrap().as_deref(), Some(&b"blob"[..]));
}

#[test]
fn the_index_says_what_a_reference_means_and_who_may_have_it() {
    let (_directory, store) = store();
    let layer = put_layer(&store, &[("a", b"a".to_vec())]);
    let digest = imagecache_core::Digest::sha256_of(b"index");
    put_cache(&store, "plain", &[&layer]);
    let (id, _) = put_cache(&store, "whole", &[&layer]);
    store
        .update_record(&id, |record| {
            let mut record = record.unwrap();
            record.images[0].index = Some(digest.clone());
            record.images[0].public = true;
            (RecordChange::Write(Box::new(record), Durability::Durable), ())
        })
        .unwrap();
    let images = imagecache_blocks::stored_images(&store.top_file("index.json").unwrap()).unwrap();
    let found = |name: &str| {
        images
            .iter()
            .find(|image| image.reference.repository().ends_with(name))
            .unwrap()
    };
    assert_eq!((&found("plain").index, found("plain").public), (&None, false));
    assert_eq!(
        (found("whole").index.as_ref(), found("whole").public),
        (Some(&digest), true)
    );
}
