//! Reading a snapshot back.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use imagecache_blocks::{BlockVisitor, Published, Result, SnapshotManifest, SnapshotStore as _, export};
use imagecache_fakes::ebs::{Fault, Pages};

use crate::support::{BLOCK, Test};

/// Notes what is damaged.
#[derive(Default)]
struct Damage(Mutex<Vec<(u64, String)>>);

impl BlockVisitor for Damage {
    fn block(&self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn damaged(&self, _: &str, index: u64, reason: &str) -> Result<()> {
        self.0.lock().unwrap().push((index, reason.to_owned()));
        Ok(())
    }
}

async fn read(test: &Test, manifest: &SnapshotManifest, published: &Published) -> Result<Vec<(u64, String)>> {
    let (ebs, store, manifest, published) = (
        Arc::clone(&test.ebs),
        test.store.clone(),
        manifest.clone(),
        published.clone(),
    );
    let work = move || {
        let damage = Damage::default();
        ebs.read_back(&store, &manifest, Some(&published), &damage)?;
        let mut found = damage.0.into_inner().unwrap();
        found.sort();
        Ok(found)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn exported(test: &Test, manifest: &SnapshotManifest, published: &Published) -> Vec<u8> {
    let (ebs, store, manifest, published) = (
        Arc::clone(&test.ebs),
        test.store.clone(),
        manifest.clone(),
        published.clone(),
    );
    let work = move || {
        let file = tempfile::NamedTempFile::new().unwrap();
        let size = export(
            ebs.as_ref(),
            &store,
            &manifest,
            Some(&published),
            file.as_file(),
            file.path(),
        )
        .unwrap();
        assert_eq!(size, published.volume_bytes);
        ends(file.as_file(), published.volume_bytes)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The blocks that were sent, and some around them: the first 100, and the last.
fn ends(file: &File, length: u64) -> Vec<u8> {
    assert_eq!(file.metadata().unwrap().len(), length);
    let mut bytes = vec![0; 101 * BLOCK];
    let (first, last) = bytes.split_at_mut(100 * BLOCK);
    file.read_exact_at(first, 0).unwrap();
    file.read_exact_at(last, length - BLOCK as u64).unwrap();
    bytes
}

#[tokio::test]
async fn an_export_is_what_a_node_sees_however_lists_are_cut() {
    let test = Test::start().await;
    let first = test.volume(&[(1, 30), (2, 10)], None);
    let one = test.publish("app:1", &first).await.unwrap();
    let second = test.volume(&[(1, 30), (3, 4)], Some(&first));
    let two = test.publish_on("app:2", &second, (&first, &one)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    test.fake.write_volume(&two.id, file.path()).unwrap();
    let expected = ends(file.as_file(), two.volume_bytes);
    for pages in [Pages::Full, Pages::Short(7), Pages::ShortAndEmpty(5)] {
        test.fake.set_pages(pages);
        assert!(exported(&test, &second, &two).await == expected, "{pages:?}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_read_again_or_told() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 10)], None);
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.fake.inject("GetSnapshotBlock", Fault::WrongBytes, 3);
    test.fake.inject("GetSnapshotBlock", Fault::CutBody, 2);
    assert_eq!(read(&test, &manifest, &published).await.unwrap(), Vec::new());
    let other = test.volume(&[(1, 10), (2, 3)], Some(&manifest));
    let found = read(&test, &other, &published).await.unwrap();
    let (never, different): (Vec<_>, Vec<_>) = found.iter().partition(|(_, reason)| reason.contains("never written"));
    assert_eq!(never.len(), 3, "{found:?}");
    assert!(
        !different.is_empty() && different.iter().all(|(_, reason)| reason.contains("digest")),
        "{found:?}"
    );
}

#[tokio::test]
async fn reading_needs_its_own_permission() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 10)], None);
    let published = test.publish("app:1", &manifest).await.unwrap();
    test.fake.inject_every("GetSnapshotBlock", Fault::AccessDenied, 1);
    let error = read(&test, &manifest, &published).await.unwrap_err();
    assert!(error.to_string().contains("ebs:GetSnapshotBlock"), "{error}");
}

#[tokio::test]
async fn one_bad_block_does_not_hide_the_others() {
    let test = Test::start().await;
    let manifest = test.volume(&[(1, 10)], None);
    let published = test.publish("app:1", &manifest).await.unwrap();
    let refusal = Fault::Refuse {
        status: 400,
        code: "ValidationException".to_owned(),
        reason: Some("INVALID_BLOCK".to_owned()),
    };
    test.fake.inject("GetSnapshotBlock", refusal, 2);
    let found = read(&test, &manifest, &published).await.unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
}

#[tokio::test]
async fn a_snapshot_that_somebody_deleted_is_damage_of_its_caches() {
    let test = Test::start().await;
    let [one, two] = [test.volume(&[(1, 5)], None), test.volume(&[(2, 5)], None)];
    let mut gone = test.publish("app:1", &one).await.unwrap();
    gone.id = "snap-0123456789abcdef0".to_owned();
    test.ready("app:1", &one, &gone);
    let published = test.publish("app:2", &two).await.unwrap();
    test.ready("app:2", &two, &published);
    let (ebs, store) = (Arc::clone(&test.ebs), test.store.clone());
    let work = move || {
        let mut report = imagecache_blocks::VerifyReport::default();
        imagecache_blocks::verify_published(&store, ebs.as_ref(), None, &mut report).unwrap();
        report
    };
    let report = tokio::task::spawn_blocking(work).await.unwrap();
    let damaged: Vec<_> = report.damage.iter().map(|damage| damage.caches.clone()).collect();
    assert_eq!(damaged, [vec![crate::support::cache_id(&test, "app:1")]], "{report:?}");
    assert!(report.bytes > 0, "the other was read");
}
