//! Builders and collectors at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use imagecache_blocks::{DirectoryStore, Error, Part, RecordChange, Store as _};
use imagecache_core::Digest;

use crate::support::{put_layer, put_record, store};

#[test]
fn one_builder_writes_a_layer_and_the_others_wait() {
    let (_directory, store) = store();
    let diff_id = Digest::sha256_of(b"layer");
    let inside = AtomicUsize::new(0);
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let _lock = store.lock_layer(&diff_id, &|| false).unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let files = std::fs::read_dir(store.root().join("locks")).unwrap().flatten();
    let left: Vec<_> = files.map(|file| file.file_name()).collect();
    assert_eq!(left, ["store"], "the other lock files go away");
}

#[test]
fn waiting_ends_when_it_is_cancelled() {
    let (_directory, store) = store();
    let diff_id = Digest::sha256_of(b"layer");
    let _held = store.lock_layer(&diff_id, &|| false).unwrap();
    assert!(matches!(store.lock_layer(&diff_id, &|| true), Err(Error::Cancelled(_))));
}

#[test]
fn a_cache_lock_is_seen_and_freed() {
    let (_directory, store) = store();
    let id = put_record(&store, "x", |_| {});
    assert!(!store.is_cache_locked(&id).unwrap());
    let held = store.try_lock_cache(&id).unwrap();
    assert!(held.is_some() && store.is_cache_locked(&id).unwrap());
    assert!(store.try_lock_cache(&id).unwrap().is_none());
    drop(held);
    assert!(!store.is_cache_locked(&id).unwrap());
    assert!(store.try_lock_cache(&id).unwrap().is_some());
}

/// The order that makes it safe: write down what will be used, then look what is there.
#[test]
fn the_collector_never_takes_what_a_builder_found() {
    let (directory, store) = store();
    let files = [("a", vec![1; 3000])];
    let layer = put_layer(&store, &files);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let collector = DirectoryStore::open(directory.path()).unwrap();
            while !over.load(Ordering::Relaxed) {
                collector.collect_garbage().unwrap();
            }
        });
        // Also when an assertion below fails: the other thread must end for it to be seen.
        let _end = SetOnDrop(&over);
        for _ in 0..200 {
            let id = put_record(&store, "builder", |record| {
                record.references.parts.insert(Part::Layer(layer.diff_id.clone()));
            });
            if store.layer(&layer.diff_id).unwrap().is_none() {
                put_layer(&store, &files);
            }
            assert!(
                store.open_part(&Part::Layer(layer.diff_id.clone())).is_ok(),
                "a referenced layer vanished"
            );
            store.update_record(&id, |_| (RecordChange::Remove, ())).unwrap();
        }
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn scratch_of_living_builders_is_left_alone() {
    let (directory, store) = store();
    let writer = store.part_writer(&Part::Layer(Digest::sha256_of(b"x"))).unwrap();
    let other = DirectoryStore::open(directory.path()).unwrap();
    assert_eq!(other.collect_garbage().unwrap().builders, 0);
    // A builder that died: its directory is there, its lock is not held.
    let dead = directory.path().join("tmp/1-dead");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("lock"), "").unwrap();
    std::fs::write(dead.join("half"), "half").unwrap();
    assert_eq!(other.collect_garbage().unwrap().builders, 1);
    assert!(!dead.exists());
    drop(writer);
}
