//! A store in a directory, which is also an OCI layout. A mounted volume is one that can only be read.
//!
//! ```text
//! imagecache-store.json                 version of the layout
//! layers/sha256/<xx>/<hex>.erofs .json  parts; one exists if and only if its record (.json) does
//! patches/sha256/<xx>/<hex>.erofs .json
//! oci-layout index.json blobs/          every image of every Ready cache
//! caches/<id>.json                      what users asked for, and what it uses
//! snapshots/<id>/                       manifest.json, volume.erofs (the volume's own bytes, sparse)
//! tmp/<builder>/                        unfinished files; locked by its builder, removed when that is dead
//! locks/                                flock(2) files
//! store-id  uploads/<id>.journal        where snapshots are kept elsewhere too: the store's name there, uploads under way
//! ```
//!
//! Everything is written under `tmp`, synced, and renamed to its place. One lock serialises changes to cache records with
//! the garbage collector: a builder writes down what it will use before it looks what is there, so nothing that it finds
//! can be collected afterwards.

#[cfg(test)]
mod crash_tests;
mod files;
mod gc;
mod locks;
mod quarantine;
mod read_write;
mod records;
mod scratch;
mod writer;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

pub use files::Durability;
pub use gc::Garbage;
pub use locks::LockGuard;
pub use records::RecordChange;
pub use writer::PartWriter;

use crate::content::{INDEX_FILE, OCI_LAYOUT};
use crate::error::{Error, IoContext as _, Result};
use scratch::Scratch;

/// Version of the layout above.
const LAYOUT_VERSION: u32 = 1;
pub(crate) const MARKER: &str = "imagecache-store.json";
pub(crate) const CACHES: &str = "caches";
pub(crate) const SNAPSHOTS: &str = "snapshots";
pub(crate) const BLOBS: &str = "blobs";
pub(crate) const TMP: &str = "tmp";
pub(crate) const LOCKS: &str = "locks";
/// Made only where snapshots are kept elsewhere too.
const UPLOADS: &str = "uploads";
const IDENTITY: &str = "store-id";
const DIRECTORIES: [&str; 7] = ["layers", "patches", BLOBS, CACHES, SNAPSHOTS, TMP, LOCKS];
/// What mkfs puts into an empty filesystem, and the snapshotter's root where it shares a mount with the store for its hard links.
const NEIGHBOURS: [&str; 2] = ["lost+found", "node"];

#[derive(Serialize, Deserialize)]
struct Marker {
    version: u32,
}

/// The marker file of the current layout.
pub(crate) fn marker_json() -> Vec<u8> {
    format!(r#"{{"version":{LAYOUT_VERSION}}}"#).into_bytes()
}

/// A store in a directory. Clones share it; processes too.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: Arc<Path>,
    access: Access,
    scratch: Arc<Mutex<Option<Arc<Scratch>>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

impl DirectoryStore {
    /// Opens the store at `root`, making it if the directory is missing or empty.
    ///
    /// # Errors
    /// `NotAStore` when other files are there, `NewerLayout` when a newer program made it.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        fs::create_dir_all(root.as_ref()).at("create", root.as_ref())?;
        let store = Self::at(root.as_ref(), Access::ReadWrite)?;
        // Whoever makes the store writes the marker before any other file. So a file that is there without a marker is a
        // stranger's, unless the marker came since we looked.
        let is_marked = store.check_marker()?;
        if !is_marked && store.holds_strangers()? && !store.check_marker()? {
            return Err(Error::NotAStore {
                path: store.root.to_path_buf(),
            });
        }
        for directory in DIRECTORIES {
            let path = store.path(directory);
            fs::create_dir_all(&path).at("create", path)?;
        }
        store.make_files()?;
        Ok(store)
    }

    /// Opens a mounted volume, or a store that must not be changed.
    ///
    /// # Errors
    /// `NotAStore` when the directory has no marker, `NewerLayout` when a newer program made it.
    pub fn open_read_only(root: impl AsRef<Path>) -> Result<Self> {
        let store = Self::at(root.as_ref(), Access::ReadOnly)?;
        match store.check_marker()? {
            true => Ok(store),
            false => Err(Error::NotAStore {
                path: store.root.to_path_buf(),
            }),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A name that no other store has, made when it is first asked for. It marks what this store keeps elsewhere.
    pub fn identity(&self) -> Result<String> {
        let path = self.path(IDENTITY);
        let _lock = self.lock_store()?;
        if let Some(bytes) = files::read_optional(&path)? {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            return match text.is_empty() {
                true => Err(Error::damaged(path, "it is empty")),
                false => Ok(text),
            };
        }
        let identity = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        self.write_file(&path, identity.as_bytes(), Durability::Durable)?;
        Ok(identity)
    }

    /// Where the journals of uploads are kept, by cache; made if it does not exist.
    pub fn uploads(&self) -> Result<PathBuf> {
        self.writable()?;
        let path = self.path(UPLOADS);
        files::create_directory(&path)?;
        Ok(path)
    }

    /// Puts a file with `bytes` in the place of the journal `name` and waits for the disk; where it is.
    pub fn begin_journal(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.uploads()?.join(name);
        self.write_file(&path, bytes, Durability::Durable)?;
        Ok(path)
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    fn at(root: &Path, access: Access) -> Result<Self> {
        // Mounts and locks outlive a change of the working directory.
        let root = fs::canonicalize(root).at("open", root)?;
        Ok(Self {
            root: root.into(),
            access,
            scratch: Arc::default(),
        })
    }

    /// Makes those of the store's own files that are not there.
    fn make_files(&self) -> Result<()> {
        let lacks = |name: &str| fs::metadata(self.path(name)).map_or(true, |meta| meta.len() == 0);
        if ![MARKER, OCI_LAYOUT.0, INDEX_FILE].into_iter().any(lacks) {
            return Ok(());
        }
        // Without it an index over no caches could come after another process's index over its first one.
        let _lock = self.lock_store()?;
        if lacks(MARKER) {
            self.write_file(&self.path(MARKER), &marker_json(), Durability::Durable)?;
        }
        if lacks(OCI_LAYOUT.0) {
            self.write_file(&self.path(OCI_LAYOUT.0), OCI_LAYOUT.1, Durability::Durable)?;
        }
        if lacks(INDEX_FILE) {
            self.write_index(None)?;
        }
        Ok(())
    }

    /// Whether something is here that neither a store's making nor its neighbours put here.
    fn holds_strangers(&self) -> Result<bool> {
        let known = |name: &OsStr| DIRECTORIES.iter().chain(&NEIGHBOURS).any(|known| name == *known);
        for entry in fs::read_dir(&self.root).at("read", &self.root)? {
            if !known(&entry.at("read", &self.root)?.file_name()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether there is a marker; refuses one that is newer than this program.
    fn check_marker(&self) -> Result<bool> {
        let path = self.path(MARKER);
        let Some(bytes) = files::read_optional(&path)? else {
            return Ok(false);
        };
        let marker: Marker =
            serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error.to_string()))?;
        if marker.version > LAYOUT_VERSION {
            return Err(Error::NewerLayout {
                path,
                found: marker.version,
                known: LAYOUT_VERSION,
            });
        }
        Ok(true)
    }

    fn writable(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::ReadOnly {
                path: self.root.to_path_buf(),
            }),
        }
    }
}
