//! Taking a damaged part out of use, so that it is fetched again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use imagecache_core::{CacheId, ErrorKind, Failure, Phase};

use super::{DirectoryStore, Durability};
use crate::cache_record::CacheRecord;
use crate::error::{Error, IoContext as _, Result};
use crate::part::Part;

impl DirectoryStore {
    /// Removes a part whose image file, the one with this inode, does not have its digests; without inode one whose file is
    /// missing. Ready caches that use it become `Stalled`: the next build fetches what is missing. Returns those; `None` when
    /// the part was replaced, or is about to be.
    ///
    /// Files that are mounted or open elsewhere stay readable there.
    ///
    /// # Errors
    /// `ReadOnly` or `Io` when the store cannot be changed.
    pub fn quarantine(&self, part: &Part, inode: Option<u64>) -> Result<Option<Vec<CacheId>>> {
        let image = self.part_path(part);
        // A builder that holds this is writing the part anew.
        let Some(_writing) = self.try_lock_part(part)? else {
            return Ok(None);
        };
        let trash = self.scratch()?.file();
        fs::create_dir(&trash).at("create", &trash)?;
        let stalled = self.quarantine_locked(part, inode, &trash.join("image"));
        fs::remove_dir_all(&trash).at("remove", &trash)?;
        if let Ok(Some(_)) = &stalled {
            tracing::debug!(image = %image.display(), "a damaged image was taken out of the store");
        }
        stalled
    }

    fn quarantine_locked(
        &self,
        part: &Part,
        inode: Option<u64>,
        trash: &std::path::Path,
    ) -> Result<Option<Vec<CacheId>>> {
        let _lock = self.lock_store()?;
        let image = self.part_path(part);
        let found = match fs::metadata(&image) {
            Ok(meta) => Some(meta.ino()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", image, error)),
        };
        let record = self.path(part.record_path());
        if found != inode || found.is_none() && !record.exists() {
            return Ok(None);
        }
        // First the caches: a kill before the files go leaves a build that finds the part, and whoever hashes it comes back.
        let mut stalled = Vec::new();
        for id in self.cache_ids()? {
            if let Ok(Some(record)) = self.record(&id)
                && record.is_ready()
                && record.references.parts.contains(part)
            {
                self.stall(&id, record, part)?;
                stalled.push(id);
            }
        }
        self.write_index(None)?;
        super::files::remove_file(&record)?;
        if found.is_some() {
            fs::rename(&image, trash).at("remove", &image)?;
        }
        Ok(Some(stalled))
    }

    fn stall(&self, id: &CacheId, mut record: CacheRecord, part: &Part) -> Result<()> {
        record.state.phase = Phase::Stalled(Failure {
            kind: ErrorKind::Unavailable,
            message: format!("{part} was damaged on the disk; it is fetched again when the cache is asked for again"),
        });
        let path = self.record_path(id);
        let json = serde_json::to_vec_pretty(&record).map_err(|error| Error::damaged(&path, error.to_string()))?;
        self.write_file(&path, &json, Durability::Durable)
    }
}
