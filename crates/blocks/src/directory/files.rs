//! Writing files so that a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::DirectoryStore;
use crate::error::{Error, IoContext as _, Result};

/// Whether a write must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk before the call returns.
    Durable,
    /// Whole or not at all, but a power cut may bring the old content back. For progress.
    Relaxed,
}

/// Reads a file; one that is not there is `None`.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .at("sync", path)
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Makes a directory below `root` and makes its name durable.
pub(super) fn create_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    create_directory(parent)?;
    match fs::create_dir(path) {
        // Another builder may be making it right now.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("create", path, error)),
        _ => sync_directory(parent),
    }
}

impl DirectoryStore {
    /// Replaces the file at `path` with `bytes`.
    pub(super) fn write_file(&self, path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
        self.writable()?;
        let temporary = self.scratch()?.file();
        let needed = Some(bytes.len() as u64);
        let written = File::create_new(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            match durability {
                Durability::Durable => file.sync_all(),
                Durability::Relaxed => Ok(()),
            }
        });
        let moved = written.and_then(|()| {
            super::scratch::crash_point("file written");
            fs::rename(&temporary, path)
        });
        if let Err(error) = moved {
            let error = Error::io_needing("write", path, error, needed);
            // Nothing of a failed write stays; the first error is the one to tell.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        super::scratch::crash_point("file renamed");
        match (durability, path.parent()) {
            (Durability::Durable, Some(parent)) => sync_directory(parent),
            _ => Ok(()),
        }
    }
}
