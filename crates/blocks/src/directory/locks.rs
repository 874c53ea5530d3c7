//! Locks between processes: flock(2) on files that go away with the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use imagecache_core::{CacheId, Digest};

use super::{DirectoryStore, LOCKS};
use crate::error::{Error, IoContext as _, Result};
use crate::part::Part;

/// How often a waiter looks whether it was cancelled; short against any build.
const POLL: Duration = Duration::from_millis(50);
/// The lock that serialises record changes and garbage collection. Its file stays.
const STORE_LOCK: &str = "store";

/// A held lock; dropping it releases it. The kernel does so too when the process dies.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
    path: PathBuf,
    kept: Kept,
}

/// Whether the file stays after the lock is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Stays,
    Removed,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.kept == Kept::Removed {
            // Removed while still locked: whoever opened it meanwhile sees that the name is gone and opens a new one.
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

impl DirectoryStore {
    /// Locks a cache for building; `None` when somebody else builds it.
    pub fn try_lock_cache(&self, id: &CacheId) -> Result<Option<LockGuard>> {
        self.try_lock(&cache_lock(id))
    }

    /// Whether some process builds this cache now.
    pub fn is_cache_locked(&self, id: &CacheId) -> Result<bool> {
        let path = self.path(LOCKS).join(cache_lock(id));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
        }
    }

    /// Locks a layer for writing. Waits while another builder writes it, until `cancelled` says to give up.
    ///
    /// # Errors
    /// `Cancelled` when it gave up.
    pub fn lock_layer(&self, diff_id: &Digest, cancelled: &dyn Fn() -> bool) -> Result<LockGuard> {
        let name = part_lock("layer", diff_id);
        loop {
            if cancelled() {
                return Err(Error::Cancelled(format!("layer {diff_id}")));
            }
            if let Some(guard) = self.try_lock(&name)? {
                return Ok(guard);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Locks a part for writing; `None` when a builder writes it.
    pub(super) fn try_lock_part(&self, part: &Part) -> Result<Option<LockGuard>> {
        let kind = match part {
            Part::Layer(_) => "layer",
            Part::Patch(_) => "patch",
        };
        self.try_lock(&part_lock(kind, part.digest()))
    }

    /// Takes the lock of the whole store. Held for moments only.
    pub(super) fn lock_store(&self) -> Result<LockGuard> {
        self.writable()?;
        let path = self.path(LOCKS).join(STORE_LOCK);
        let file = open(&path)?;
        file.lock().at("lock", &path)?;
        Ok(LockGuard {
            file,
            path,
            kept: Kept::Stays,
        })
    }

    fn try_lock(&self, name: &str) -> Result<Option<LockGuard>> {
        self.writable()?;
        let path = self.path(LOCKS).join(name);
        loop {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
            }
            // The previous holder may have removed the file between our opening and locking it.
            let mine = file.metadata().at("read", &path)?;
            if fs::metadata(&path).is_ok_and(|named| named.ino() == mine.ino() && named.dev() == mine.dev()) {
                return Ok(Some(LockGuard {
                    file,
                    path,
                    kept: Kept::Removed,
                }));
            }
        }
    }
}

fn part_lock(kind: &str, digest: &Digest) -> String {
    format!("{kind}-{}-{}", digest.algorithm().as_str(), digest.hex())
}

fn cache_lock(id: &CacheId) -> String {
    format!("cache-{id}")
}

fn open(path: &std::path::Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .at("open", path)
}
