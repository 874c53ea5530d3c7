//! `verify` finds every kind of damage and names who is hit.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use imagecache_blocks::{DirectoryStore, Error, Part, SnapshotManifest, Store as _, stored_images, verify};
use imagecache_core::{CacheId, Phase};

use crate::support::{noise, put_cache, put_layer, put_record, store};

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn first_part(store: &DirectoryStore, manifest: &SnapshotManifest) -> PathBuf {
    store.part_path(&manifest.parts().next().unwrap().0)
}

type Harm = fn(&DirectoryStore, &CacheId, &SnapshotManifest) -> PathBuf;

#[test]
fn every_damage_is_found_and_named() {
    let rows: [(&str, Harm, bool); 10] = [
        (
            "layer bit",
            |s, _, m| {
                let p = first_part(s, m);
                flip(&p, 700_000);
                p
            },
            true,
        ),
        (
            "layer cut",
            |s, _, m| {
                let p = first_part(s, m);
                fs::File::options().write(true).open(&p).unwrap().set_len(4096).unwrap();
                p
            },
            true,
        ),
        (
            "layer gone",
            |s, _, m| {
                let p = first_part(s, m);
                fs::remove_file(&p).unwrap();
                p
            },
            true,
        ),
        (
            "record bit",
            |s, _, m| {
                let p = first_part(s, m).with_extension("json");
                flip(&p, 1);
                p
            },
            true,
        ),
        (
            "record gone",
            |s, _, m| {
                let p = first_part(s, m).with_extension("json");
                fs::remove_file(&p).unwrap();
                p
            },
            true,
        ),
        (
            "volume bit",
            |s, _, m| {
                let p = s.own_path(&m.id);
                flip(&p, 1100);
                p
            },
            true,
        ),
        (
            "manifest gone",
            |s, _, m| {
                let p = s.own_path(&m.id);
                fs::remove_dir_all(p.parent().unwrap()).unwrap();
                p.parent().unwrap().to_owned()
            },
            true,
        ),
        (
            "blob bit",
            |s, _, _| {
                let p = fs::read_dir(s.root().join("blobs/sha256"))
                    .unwrap()
                    .next()
                    .unwrap()
                    .unwrap()
                    .path();
                flip(&p, 3);
                p
            },
            true,
        ),
        (
            "cache record",
            |s, id, _| {
                let p = s.record_path(id);
                fs::write(&p, "{").unwrap();
                p
            },
            true,
        ),
        (
            "index",
            |s, _, _| {
                let p = s.root().join("index.json");
                fs::write(&p, "{}").unwrap();
                p
            },
            false,
        ),
    ];
    for (name, harm, hits_cache) in rows {
        let (_directory, store) = store();
        let layer = put_layer(&store, &[("a", noise(1, 900_000))]);
        let (id, manifest) = put_cache(&store, "hit", &[&layer]);
        let clean = verify(&store, None, &mut |_| {}).unwrap();
        assert!(clean.damage.is_empty() && clean.bytes > 900_000, "{name}: {clean:?}");
        let path = harm(&store, &id, &manifest);
        let report = verify(&store, None, &mut |_| {}).unwrap();
        let found = report.damage.iter().find(|damage| damage.path == path);
        let found = found.unwrap_or_else(|| panic!("{name}: {} not named in {:?}", path.display(), report.damage));
        assert_eq!(found.caches.contains(&id), hits_cache, "{name}: {found:?}");
    }
}

#[test]
fn one_cache_can_be_verified_alone() {
    let (_directory, store) = store();
    let (good, bad) = (
        put_layer(&store, &[("a", noise(1, 5000))]),
        put_layer(&store, &[("b", noise(2, 5000))]),
    );
    let (good_id, _) = put_cache(&store, "good", &[&good]);
    let (bad_id, manifest) = put_cache(&store, "bad", &[&bad]);
    flip(&first_part(&store, &manifest), 4200);
    assert!(verify(&store, Some(&good_id), &mut |_| {}).unwrap().damage.is_empty());
    assert_eq!(verify(&store, Some(&bad_id), &mut |_| {}).unwrap().damage.len(), 1);
    let unknown = put_record(&store, "removed", |_| {});
    store
        .update_record(&unknown, |_| (imagecache_blocks::RecordChange::Remove, ()))
        .unwrap();
    assert!(matches!(
        verify(&store, Some(&unknown), &mut |_| {}),
        Err(Error::Missing { .. })
    ));
}

#[test]
fn a_quarantined_part_is_gone_and_its_caches_wait_for_a_build() {
    let (_directory, store) = store();
    let layers = [1, 2].map(|seed| put_layer(&store, &[("file", noise(seed, 700_000))]));
    let (hit, manifest) = put_cache(&store, "hit:1", &[&layers[0], &layers[1]]);
    let (spared, _) = put_cache(&store, "spared:1", &[&layers[1]]);
    let part = Part::Layer(layers[0].diff_id.clone());
    let image = store.part_path(&part);
    let inode = fs::metadata(&image).unwrap().ino();
    // Another file by now.
    assert_eq!(store.quarantine(&part, Some(inode + 1)).unwrap(), None);
    // A builder is at it.
    let writing = store.lock_layer(&layers[0].diff_id, &|| false).unwrap();
    assert_eq!(store.quarantine(&part, Some(inode)).unwrap(), None);
    drop(writing);
    assert!(image.exists());
    assert_eq!(store.quarantine(&part, Some(inode)).unwrap(), Some(vec![hit.clone()]));
    assert!(!image.exists() && store.layer(&layers[0].diff_id).unwrap().is_none());
    assert!(store.layer(&layers[1].diff_id).unwrap().is_some());
    let phase = |id| store.record(id).unwrap().unwrap().state.phase;
    assert!(matches!(phase(&hit), Phase::Stalled(failure) if failure.message.contains("damaged")));
    assert_eq!(phase(&spared), Phase::Ready);
    let index = stored_images(&store.top_file("index.json").unwrap()).unwrap();
    assert_eq!(index.len(), 1, "an image that cannot be read is offered");
    assert!(store.snapshot(&manifest.id).unwrap().is_some());
    assert_eq!(store.quarantine(&part, Some(inode)).unwrap(), None, "again");
    assert_eq!(
        fs::read_dir(store.root().join("tmp")).unwrap().count(),
        1,
        "only the scratch directory"
    );
    // The file of the other one is gone.
    let other = Part::Layer(layers[1].diff_id.clone());
    fs::remove_file(store.part_path(&other)).unwrap();
    assert_eq!(store.quarantine(&other, Some(inode)).unwrap(), None);
    assert_eq!(store.quarantine(&other, None).unwrap(), Some(vec![spared.clone()]));
    assert!(store.layer(&layers[1].diff_id).unwrap().is_none());
    assert_eq!(store.quarantine(&other, None).unwrap(), None, "again");
    let reader = DirectoryStore::open_read_only(store.root()).unwrap();
    let refused = reader.quarantine(&Part::Layer(layers[1].diff_id.clone()), Some(1));
    assert!(matches!(refused, Err(Error::ReadOnly { .. })));
}
