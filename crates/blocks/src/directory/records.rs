//! Cache records and the index over the Ready ones.

use std::fs;

use imagecache_core::CacheId;

use super::files::{read_optional, remove_file, sync_directory};
use super::{CACHES, DirectoryStore, Durability};
use crate::cache_record::{CACHE_RECORD_VERSION, CacheRecord};
use crate::content::{INDEX_FILE, index_json};
use crate::error::{Error, IoContext as _, Result};

/// What to do with a record that was looked at.
#[derive(Debug)]
pub enum RecordChange {
    /// Leave it as it is.
    Keep,
    /// Put this in its place.
    Write(Box<CacheRecord>, Durability),
    /// Remove it. What it used is removed by the next [`DirectoryStore::collect_garbage`].
    Remove,
}

impl DirectoryStore {
    /// Reads the record of a cache.
    pub fn record(&self, id: &CacheId) -> Result<Option<CacheRecord>> {
        let path = self.record_path(id);
        let Some(bytes) = read_optional(&path)? else {
            return Ok(None);
        };
        let record: CacheRecord =
            serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?;
        if record.version != CACHE_RECORD_VERSION {
            let reason = format!("its version is {}, known is {CACHE_RECORD_VERSION}", record.version);
            return Err(Error::damaged(path, reason));
        }
        Ok(Some(record))
    }

    /// Ids of all caches, sorted.
    pub fn cache_ids(&self) -> Result<Vec<CacheId>> {
        let directory = self.path(CACHES);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let name = entry.at("read", &directory)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            ids.extend(id);
        }
        ids.sort();
        Ok(ids)
    }

    /// Where the record of a cache is kept.
    pub fn record_path(&self, id: &CacheId) -> std::path::PathBuf {
        self.path(CACHES).join(format!("{id}.json"))
    }

    /// Looks at a record and changes it, alone: no other change and no garbage collection comes between.
    ///
    /// `change` is given the current record and returns what to do, and a value for the caller.
    pub fn update_record<T>(
        &self,
        id: &CacheId,
        change: impl FnOnce(Option<CacheRecord>) -> (RecordChange, T),
    ) -> Result<T> {
        let _lock = self.lock_store()?;
        // A record that cannot be read must not be in the way of deleting or replacing it.
        let (before, was_ready) = match self.record(id) {
            Ok(record) => {
                let ready = record.as_ref().is_some_and(CacheRecord::is_ready);
                (record, ready)
            }
            Err(Error::Damaged { .. }) => (None, true),
            Err(error) => return Err(error),
        };
        let (change, value) = change(before);
        let path = self.record_path(id);
        let is_ready = match change {
            RecordChange::Keep => return Ok(value),
            RecordChange::Write(record, durability) => {
                if record.is_ready() {
                    // First the index: whoever sees that a cache is Ready finds its images there, even if this process ends
                    // right now.
                    self.write_index(Some((id, &record)))?;
                }
                let json =
                    serde_json::to_vec_pretty(&record).map_err(|error| Error::damaged(&path, error.to_string()))?;
                self.write_file(&path, &json, durability)?;
                record.is_ready()
            }
            RecordChange::Remove => {
                remove_file(&path)?;
                sync_directory(&self.path(CACHES))?;
                false
            }
        };
        if was_ready && !is_ready {
            self.write_index(None)?;
        }
        Ok(value)
    }

    /// Writes `index.json` over all Ready caches, if it changed. `coming` is one whose record is about to be written.
    pub(super) fn write_index(&self, coming: Option<(&CacheId, &CacheRecord)>) -> Result<()> {
        let mut images = coming.map(|(_, record)| record.images.clone()).unwrap_or_default();
        let written = self.cache_ids()?.into_iter();
        for id in written.filter(|id| coming.is_none_or(|(coming, _)| coming != id)) {
            match self.record(&id) {
                Ok(Some(record)) if record.is_ready() => images.extend(record.images),
                // A damaged record names no images; `verify` tells about it.
                Ok(_) | Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let json = index_json(&images);
        let path = self.path(INDEX_FILE);
        if read_optional(&path)?.as_deref() == Some(json.as_slice()) {
            return Ok(());
        }
        self.write_file(&path, &json, Durability::Durable)
    }
}
