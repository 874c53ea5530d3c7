//! Where everything is below the snapshotter's root directory.
//!
//! ```text
//! book           every snapshot, and the images in use (redb)
//! s/<n>/fs,work  files of a snapshot that was pulled or written, as overlayfs wants them
//! s/<n>          mount point of an image of a cached layer
//! images/<n>     hard link to that image, so that it outlives its cache; absent when the store is on another filesystem
//! verified/      marks of images that were hashed
//! volumes/<n>    mount points of volumes that serve as stores
//! trash/         directories that are being removed
//! status.json    what the node holds, for others to read
//! ```
//!
//! Snapshots and images are numbered together and lie side by side: containerd shortens mount options by the common part of
//! the paths, and only so do hundreds of layers fit into the one page that mount(2) takes.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Only root may walk into other people's files.
const MODE: u32 = 0o700;

/// The paths below one root.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes what is missing.
    ///
    /// # Errors
    /// `Io` when a directory cannot be made.
    pub fn create(root: &Path) -> Result<Self> {
        let directory = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(MODE).create(path);
            made.map_err(|error| Error::io("create", path, error))
        };
        directory(root)?;
        // What is mounted is compared with what the kernel says, which knows no links.
        let root = fs::canonicalize(root).map_err(|error| Error::io("open", root, error))?;
        let layout = Self { root };
        for path in [layout.snapshots(), layout.images(), layout.trash(), layout.volumes()] {
            directory(&path)?;
        }
        Ok(layout)
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The book's file.
    pub fn book(&self) -> PathBuf {
        self.root.join("book")
    }

    /// The directory of all snapshots and mount points.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("s")
    }

    /// A snapshot's directory, or an image's mount point.
    pub fn place(&self, number: u64) -> PathBuf {
        self.snapshots().join(number.to_string())
    }

    /// What a snapshot holds.
    pub fn files(&self, number: u64) -> PathBuf {
        self.place(number).join("fs")
    }

    /// What overlayfs needs besides.
    pub fn work(&self, number: u64) -> PathBuf {
        self.place(number).join("work")
    }

    /// The directory of all links.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The link to an image.
    pub fn image(&self, number: u64) -> PathBuf {
        self.images().join(number.to_string())
    }

    /// The directory of marks.
    pub fn verified(&self) -> PathBuf {
        self.root.join("verified")
    }

    /// The directory of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What the node holds, for others to read.
    pub fn status(&self) -> PathBuf {
        Self::status_below(&self.root)
    }

    /// The same, of a root that may not exist.
    pub fn status_below(root: &Path) -> PathBuf {
        root.join("status.json")
    }

    /// What is being removed.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
}

/// The numbers that name entries of a directory.
pub(crate) fn numbers_in(directory: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(directory).map_err(|error| Error::io("read", directory, error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}
