//! Each process's own corner of `tmp`, locked as long as the process lives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::{DirectoryStore, TMP};
use crate::error::{IoContext as _, Result};

/// Name of the locked file in a scratch directory.
pub(super) const SCRATCH_LOCK: &str = "lock";

/// A locked directory below `tmp`; removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A path for a new file or directory.
    pub(super) fn file(&self) -> PathBuf {
        self.path.join(format!("{:016x}", fastrand::u64(..)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next garbage collection.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl DirectoryStore {
    /// A path for a file that only this process knows; it is removed with the process at the latest.
    pub(crate) fn scratch_file(&self) -> Result<PathBuf> {
        Ok(self.scratch()?.file())
    }

    /// This process's scratch directory, made on first use.
    pub(super) fn scratch(&self) -> Result<Arc<Scratch>> {
        self.writable()?;
        let mut slot = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = &*slot
            && scratch.path.is_dir()
        {
            return Ok(Arc::clone(scratch));
        }
        let name = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = self.path(TMP).join(&name);
        // The lock is taken before the directory has the name that the collector looks at.
        let hidden = self.path(TMP).join(format!(".{name}"));
        fs::create_dir(&hidden).at("create", &hidden)?;
        let lock = lock_in(&hidden)?;
        fs::rename(&hidden, &path).at("create", &path)?;
        let scratch = Arc::new(Scratch { path, _lock: lock });
        *slot = Some(Arc::clone(&scratch));
        Ok(scratch)
    }
}

fn lock_in(directory: &Path) -> Result<File> {
    let path = directory.join(SCRATCH_LOCK);
    let lock = File::create_new(&path).at("create", &path)?;
    lock.lock().at("lock", &path)?;
    Ok(lock)
}

/// A place at which tests end the process.
#[cfg(test)]
pub(super) fn crash_point(name: &str) {
    if std::env::var("BLOCKS_CRASH_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}

/// A place at which tests end the process.
#[cfg(not(test))]
pub(super) fn crash_point(_name: &str) {}
