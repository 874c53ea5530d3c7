//! Removing what no cache uses any more.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use imagecache_core::Digest;

use super::files::remove_file;
use super::scratch::SCRATCH_LOCK;
use super::{BLOBS, DirectoryStore, SNAPSHOTS, TMP};
use crate::cache_record::References;
use crate::error::{Error, IoContext as _, Result};
use crate::part::Part;
use crate::snapshot::SnapshotId;

/// A scratch directory without a lock file is being made right now, unless it is this old.
const UNLOCKED_SCRATCH_AGE: Duration = Duration::from_secs(3600);

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Layer and patch images.
    pub parts: usize,
    /// OCI blobs.
    pub blobs: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Directories of dead builders.
    pub builders: usize,
    /// Bytes of the removed files, holes included.
    pub bytes: u64,
}

impl DirectoryStore {
    /// Removes parts, blobs and snapshots that no cache record names, and what dead builders left under `tmp`.
    ///
    /// Files that are mounted or open elsewhere stay readable there. A record that cannot be read stops the collection,
    /// because what it uses is unknown.
    pub fn collect_garbage(&self) -> Result<Garbage> {
        let mut garbage = Garbage::default();
        // Renamed away under the lock, removed after it: unlinking gigabytes takes a while.
        let trash = self.scratch()?.file();
        fs::create_dir(&trash).at("create", &trash)?;
        {
            let _lock = self.lock_store()?;
            let (references, snapshots) = self.all_references()?;
            self.collect_parts(&references, &trash, &mut garbage)?;
            self.collect_blobs(&references, &trash, &mut garbage)?;
            self.collect_snapshots(&snapshots, &trash, &mut garbage)?;
            self.write_index(None)?;
        }
        fs::remove_dir_all(&trash).at("remove", &trash)?;
        self.collect_builders(&mut garbage)?;
        Ok(garbage)
    }

    fn all_references(&self) -> Result<(References, BTreeSet<SnapshotId>)> {
        let mut all = References::default();
        let mut snapshots = BTreeSet::new();
        for id in self.cache_ids()? {
            if let Some(record) = self.record(&id)? {
                all.parts.extend(record.references.parts);
                all.blobs.extend(record.references.blobs);
                snapshots.extend(record.snapshot);
            }
        }
        Ok((all, snapshots))
    }

    fn collect_parts(&self, references: &References, trash: &Path, garbage: &mut Garbage) -> Result<()> {
        for top in ["layers", "patches"] {
            for algorithm in entries(&self.path(top))? {
                for shard in entries(&algorithm)? {
                    let mut left = false;
                    for file in entries(&shard)? {
                        let part = part_of(top, &algorithm, &file);
                        if part.as_ref().is_some_and(|part| references.parts.contains(part)) {
                            left = true;
                            continue;
                        }
                        let is_image = file.extension().is_some_and(|extension| extension == "erofs");
                        // The record goes first, so that a crash in between leaves no record without an image.
                        if is_image {
                            remove_file(&file.with_extension("json"))?;
                            garbage.parts += 1;
                        }
                        discard(&file, trash, garbage)?;
                    }
                    if !left {
                        // A builder may be adding a part right now; then it is not empty, or made again.
                        let _ = fs::remove_dir(&shard);
                    }
                }
            }
        }
        Ok(())
    }

    fn collect_blobs(&self, references: &References, trash: &Path, garbage: &mut Garbage) -> Result<()> {
        for algorithm in entries(&self.path(BLOBS))? {
            for file in entries(&algorithm)? {
                let digest = digest_of(&algorithm, &file);
                if !digest.is_some_and(|digest| references.blobs.contains(&digest)) {
                    garbage.blobs += 1;
                    discard(&file, trash, garbage)?;
                }
            }
        }
        Ok(())
    }

    fn collect_snapshots(&self, used: &BTreeSet<SnapshotId>, trash: &Path, garbage: &mut Garbage) -> Result<()> {
        for directory in entries(&self.path(SNAPSHOTS))? {
            let id = name_of(&directory).parse::<SnapshotId>().ok();
            if !id.is_some_and(|id| used.contains(&id)) {
                garbage.snapshots += 1;
                discard(&directory, trash, garbage)?;
            }
        }
        Ok(())
    }

    fn collect_builders(&self, garbage: &mut Garbage) -> Result<()> {
        for directory in entries(&self.path(TMP))? {
            let lock = directory.join(SCRATCH_LOCK);
            match File::open(&lock) {
                Ok(file) => match file.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => continue,
                    Err(TryLockError::Error(error)) => return Err(Error::io("lock", lock, error)),
                },
                Err(_) if !is_old(&directory) => continue,
                Err(_) => {}
            }
            // Another collector may be faster.
            match fs::remove_dir_all(&directory) {
                Ok(()) => garbage.builders += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove", directory, error)),
            }
        }
        Ok(())
    }
}

/// Moves a file or directory into `trash`; one that is gone is fine.
fn discard(path: &Path, trash: &Path, garbage: &mut Garbage) -> Result<()> {
    let bytes = fs::symlink_metadata(path).map_or(0, |meta| meta.len());
    match fs::rename(path, trash.join(format!("{:016x}", fastrand::u64(..)))) {
        Ok(()) => garbage.bytes += bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("remove", path, error)),
    }
    Ok(())
}

/// What a directory holds; one that is not there holds nothing.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(list) => list
            .map(|entry| entry.map(|entry| entry.path()).at("read", path))
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

pub(super) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

pub(super) fn part_of(top: &str, algorithm: &Path, file: &Path) -> Option<Part> {
    let stem = file.file_stem().and_then(|stem| stem.to_str())?;
    Part::from_path(top, name_of(algorithm), stem)
}

pub(super) fn digest_of(algorithm: &Path, file: &Path) -> Option<Digest> {
    format!("{}:{}", name_of(algorithm), name_of(file)).parse().ok()
}

fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified
        .ok()
        .and_then(|at| at.elapsed().ok())
        .is_some_and(|age| age > UNLOCKED_SCRATCH_AGE)
}
