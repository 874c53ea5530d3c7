//! Re-reading everything that a store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use imagecache_core::{CacheId, Digest, ErrorKind};

use crate::block::{BLOCK, BLOCK_BYTES, BlockDigest, Blocks};
use crate::cache_record::CacheRecord;
use crate::directory::DirectoryStore;
use crate::error::{Error, Result};
use crate::part::Part;
use crate::record::PartRecord;
use crate::snapshot::{SnapshotId, Source};
use crate::snapshot_store::{BlockVisitor, Published, SnapshotStore};
use crate::store::{ReadAt, Store};
use crate::volume_reader::read_block;

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// Ready caches that need it.
    pub caches: Vec<CacheId>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes that were read and hashed.
    pub bytes: u64,
    /// Files that were checked.
    pub files: usize,
    /// What is damaged; empty when all is well.
    pub damage: Vec<Damage>,
}

/// Who needs what.
#[derive(Default)]
struct Uses {
    parts: BTreeMap<Part, BTreeSet<CacheId>>,
    blobs: BTreeMap<Digest, BTreeSet<CacheId>>,
    snapshots: BTreeMap<SnapshotId, BTreeSet<CacheId>>,
}

/// Reads every part, blob, record and volume that the Ready caches of `store` use and checks every digest.
///
/// `only` limits it to one cache. Unfinished caches are left out: what they need is checked before they become Ready.
/// `progress` is told the bytes read so far.
///
/// # Errors
/// `Missing` when `only` names no Ready cache; otherwise only what makes checking impossible. Damage is reported, not an
/// error.
pub fn verify(store: &DirectoryStore, only: Option<&CacheId>, progress: &mut dyn FnMut(u64)) -> Result<VerifyReport> {
    let mut check = Check {
        store,
        report: VerifyReport::default(),
        progress,
    };
    let mut uses = Uses::default();
    let ids = store.cache_ids()?;
    for id in ids.iter().filter(|id| only.is_none_or(|only| only == *id)) {
        check.report.files += 1;
        match store.record(id) {
            Ok(Some(record)) if record.is_ready() => check.gather(id, &record, &mut uses),
            Ok(_) => {}
            Err(error) => check.failed(&store.record_path(id), error, &BTreeSet::from([id.clone()]))?,
        }
    }
    if let Some(only) = only.filter(|only| !ids.contains(only)) {
        return Err(Error::Missing {
            what: format!("cache {only}"),
            store: store.root().to_owned(),
        });
    }
    for (digest, caches) in &uses.blobs {
        check.blob(digest, caches)?;
    }
    let mut verified = BTreeMap::new();
    for (part, caches) in &uses.parts {
        if let Some(blocks) = check.part(part, caches)? {
            verified.insert(part.clone(), blocks);
        }
    }
    for (id, caches) in &uses.snapshots {
        check.snapshot(id, &verified, caches)?;
    }
    if only.is_none() {
        check.index()?;
    }
    Ok(check.report)
}

/// Reads back what the Ready caches of `store` keep in `snapshots` outside the directory, and adds what it finds to `report`.
///
/// # Errors
/// What makes reading impossible. Damage is reported, not an error.
pub fn verify_published(
    store: &DirectoryStore,
    snapshots: &dyn SnapshotStore,
    only: Option<&CacheId>,
    report: &mut VerifyReport,
) -> Result<()> {
    // Caches with equal content share one.
    let mut kept: BTreeMap<String, (Published, SnapshotId, BTreeSet<CacheId>)> = BTreeMap::new();
    for id in store
        .cache_ids()?
        .into_iter()
        .filter(|id| only.is_none_or(|only| only == id))
    {
        // A record that cannot be read was reported with the directory.
        let Ok(Some(record)) = store.record(&id) else { continue };
        if let (true, Some(published), Some(snapshot)) = (record.is_ready(), record.published, record.snapshot) {
            let entry = kept.entry(published.id.clone());
            entry.or_insert((published, snapshot, BTreeSet::new())).2.insert(id);
        }
    }
    for (published, snapshot, caches) in kept.into_values() {
        report.files += 1;
        // So was a manifest.
        let Ok(Some(manifest)) = store.snapshot(&snapshot) else {
            continue;
        };
        let collector = Collector::default();
        match snapshots.read_back(store, &manifest, Some(&published), &collector) {
            Ok(()) => {}
            // Somebody deleted it. The others are to be checked all the same.
            Err(error) if error.kind() == ErrorKind::NotFound => report.damage.push(Damage {
                path: published.id.into(),
                reason: error.to_string(),
                caches: caches.iter().cloned().collect(),
            }),
            Err(error) => return Err(error),
        }
        let (bytes, damage) = collector.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.bytes += bytes;
        report.damage.extend(damage.into_iter().map(|(place, reason)| Damage {
            path: place.into(),
            reason,
            caches: caches.iter().cloned().collect(),
        }));
    }
    Ok(())
}

/// Bytes that were right, and what was not: where, and how.
#[derive(Default)]
struct Collector(Mutex<(u64, Vec<(String, String)>)>);

impl BlockVisitor for Collector {
    fn block(&self, _: u64, bytes: &[u8]) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 += bytes.len() as u64;
        Ok(())
    }

    fn damaged(&self, place: &str, index: u64, reason: &str) -> Result<()> {
        let damage = (place.to_owned(), format!("block {index}: {reason}"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.push(damage);
        Ok(())
    }
}

struct Check<'a> {
    store: &'a DirectoryStore,
    report: VerifyReport,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn gather(&mut self, id: &CacheId, record: &CacheRecord, uses: &mut Uses) {
        let add = |set: &mut BTreeSet<CacheId>| {
            set.insert(id.clone());
        };
        for digest in &record.references.blobs {
            add(uses.blobs.entry(digest.clone()).or_default());
        }
        let needed: BTreeSet<Part> = match &record.snapshot {
            None => BTreeSet::new(),
            Some(snapshot) => {
                add(uses.snapshots.entry(snapshot.clone()).or_default());
                // A manifest that cannot be read is reported when its turn comes.
                match self.store.snapshot(snapshot) {
                    Ok(Some(manifest)) => manifest.parts().map(|(part, _)| part).collect(),
                    _ => BTreeSet::new(),
                }
            }
        };
        let layers = record
            .references
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Layer(_)))
            .cloned();
        for part in layers.chain(needed) {
            add(uses.parts.entry(part).or_default());
        }
        if record.snapshot.is_none() {
            self.damage(
                &self.store.record_path(id),
                "it is Ready and names no snapshot",
                &BTreeSet::from([id.clone()]),
            );
        }
    }

    fn blob(&mut self, digest: &Digest, caches: &BTreeSet<CacheId>) -> Result<()> {
        self.report.files += 1;
        let path = self.store.blob_path(digest);
        match self.store.blob(digest) {
            Ok(Some(bytes)) => self.count(bytes.len() as u64),
            Ok(None) => self.damage(&path, "it is missing", caches),
            Err(error) => self.failed(&path, error, caches)?,
        }
        Ok(())
    }

    fn part(&mut self, part: &Part, caches: &BTreeSet<CacheId>) -> Result<Option<Blocks>> {
        self.report.files += 1;
        let path = self.store.part_path(part);
        let record = match part {
            Part::Layer(digest) => self.store.layer(digest).map(|record| record.map(PartRecord::Layer)),
            Part::Patch(digest) => self.store.patch(digest).map(|record| record.map(PartRecord::Patch)),
        };
        let blocks = match record {
            Ok(Some(record)) => record.blocks().clone(),
            Ok(None) => {
                self.damage(&self.store.path(part.record_path()), "it is missing", caches);
                return Ok(None);
            }
            Err(error) => return self.failed(&path, error, caches).map(|()| None),
        };
        let image = match self.store.open_part(part) {
            Ok(image) => image,
            Err(error) => return self.failed(&path, error, caches).map(|()| None),
        };
        for (index, expected) in blocks.digests.iter().enumerate() {
            self.compare(image.as_ref(), &path, index as u64, *expected, caches)?;
        }
        Ok(Some(blocks))
    }

    fn snapshot(&mut self, id: &SnapshotId, parts: &BTreeMap<Part, Blocks>, caches: &BTreeSet<CacheId>) -> Result<()> {
        self.report.files += 1;
        let directory = self.store.snapshot_path(id);
        let manifest = match self.store.snapshot(id) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                self.damage(&directory, "it is missing", caches);
                return Ok(());
            }
            Err(error) => return self.failed(&directory, error, caches),
        };
        let path = self.store.own_path(id);
        let own = match self.store.open_own(id) {
            Ok(own) => own,
            Err(error) => return self.failed(&path, error, caches),
        };
        for extent in &manifest.extents {
            let first = usize::try_from(extent.first_block).unwrap_or(usize::MAX);
            let count = usize::try_from(extent.blocks).unwrap_or(usize::MAX);
            let expected = manifest.blocks.iter().skip(first).take(count);
            match (
                &extent.source,
                extent.source.part().and_then(|part| parts.get(&part).cloned()),
            ) {
                (Source::Own, _) => {
                    for (index, digest) in expected.enumerate() {
                        self.compare(own.as_ref(), &path, extent.first_block + index as u64, *digest, caches)?;
                    }
                }
                (_, Some(blocks)) if !blocks.digests.iter().eq(expected) => {
                    let reason = format!("its blocks from {} on are not those of their layer", extent.first_block);
                    self.damage(&directory, &reason, caches);
                }
                // A part without a record was reported already.
                _ => {}
            }
        }
        Ok(())
    }

    /// The index must name exactly the images of the Ready caches.
    fn index(&mut self) -> Result<()> {
        self.report.files += 1;
        let mut images = Vec::new();
        for id in self.store.cache_ids()? {
            if let Ok(Some(record)) = self.store.record(&id)
                && record.is_ready()
            {
                images.extend(record.images);
            }
        }
        let path = self.store.path(crate::content::INDEX_FILE);
        match fs::read(&path) {
            Ok(bytes) if bytes == crate::content::index_json(&images) => self.count(bytes.len() as u64),
            Ok(_) => self.damage(
                &path,
                "it does not list the images of the Ready caches",
                &BTreeSet::new(),
            ),
            Err(error) => self.damage(&path, &error.to_string(), &BTreeSet::new()),
        }
        Ok(())
    }

    fn compare(
        &mut self,
        file: &dyn ReadAt,
        path: &Path,
        index: u64,
        expected: BlockDigest,
        caches: &BTreeSet<CacheId>,
    ) -> Result<()> {
        let mut buffer = vec![0; BLOCK];
        match read_block(file, index * BLOCK_BYTES, &mut buffer) {
            Ok(()) if BlockDigest::of(&buffer) == expected => {}
            Ok(()) => self.damage(path, &format!("block {index} does not have its digest"), caches),
            Err(error) => self.damage(path, &format!("block {index} cannot be read: {error}"), caches),
        }
        self.count(BLOCK_BYTES);
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.report.bytes += bytes;
        (self.progress)(self.report.bytes);
    }

    /// Damage is noted; anything else ends the verification.
    fn failed(&mut self, path: &Path, error: Error, caches: &BTreeSet<CacheId>) -> Result<()> {
        match error {
            Error::Damaged { path, reason } => self.damage(&path, &reason, caches),
            Error::Io { source, .. } => self.damage(path, &source.to_string(), caches),
            other => return Err(other),
        }
        Ok(())
    }

    fn damage(&mut self, path: &Path, reason: &str, caches: &BTreeSet<CacheId>) {
        let caches = caches.iter().cloned().collect();
        self.report.damage.push(Damage {
            path: path.to_owned(),
            reason: reason.to_owned(),
            caches,
        });
    }
}
