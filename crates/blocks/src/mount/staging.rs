//! A directory for the moments in which a mount is put together. Left over after a kill, it is cleared by the next one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::{IoContext as _, Result};

/// Short, because overlayfs takes the names of all layers in one page; on a file system that a reboot empties.
const RUN_DIRECTORY: &str = "/run/imagecache";
/// Locked as long as the process that made the directory lives.
const LOCK: &str = "lock";

/// A private directory below `/run/imagecache`; unmounted and removed when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    /// Makes a new one, after clearing those of dead processes.
    pub(super) fn new() -> Result<Self> {
        let run = Path::new(RUN_DIRECTORY);
        fs::create_dir_all(run).at("create", run)?;
        // One at a time looks for leftovers, so that a directory is never seen between its making and its locking.
        let gate_path = run.join(LOCK);
        let gate = File::create(&gate_path).at("create", &gate_path)?;
        gate.lock().at("lock", &gate_path)?;
        sweep(run);
        let path = run.join(format!("{:x}", fastrand::u32(..)));
        fs::create_dir(&path).at("create", &path)?;
        let lock_path = path.join(LOCK);
        let lock = File::create_new(&lock_path).at("create", &lock_path)?;
        lock.lock().at("lock", &lock_path)?;
        Ok(Self { path, _lock: lock })
    }

    /// A path inside.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A short name for `file`.
    pub(super) fn link(&self, number: usize, file: &Path) -> Result<PathBuf> {
        let path = self.path(&format!("d{number:x}"));
        if !path.is_symlink() {
            std::os::unix::fs::symlink(file, &path).at("link", &path)?;
        }
        Ok(path)
    }

    /// An empty directory for the `number`-th layer.
    pub(super) fn layer(&self, number: usize) -> Result<Place> {
        let path = self.path(&format!("{number:x}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).at("create", &path)?,
            _ => {}
        }
        Ok(Place { path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        clear(&self.path);
    }
}

/// A directory to mount on.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
}

/// A directory with something mounted on it, unmounted when dropped.
#[derive(Debug)]
pub(super) struct Mounted(Place);

impl Place {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// To be called once something is mounted.
    pub(super) fn mounted(self) -> Mounted {
        Mounted(self)
    }
}

impl Mounted {
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0.path, UnmountFlags::DETACH) {
            tracing::warn!(path = %self.0.path.display(), %error, "cannot unmount a staged layer");
        }
    }
}

/// Clears the directories whose process is gone.
fn sweep(run: &Path) {
    let Ok(entries) = fs::read_dir(run) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let dead = match File::open(path.join(LOCK)) {
            Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            // It died before it made its lock: nobody else makes directories while we hold the gate.
            Err(_) => true,
        };
        if dead {
            clear(&path);
        }
    }
}

/// Unmounts everything below `path` and removes it. Never goes into a mount.
fn clear(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for place in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        while unmount(place.path(), UnmountFlags::DETACH).is_ok() {}
        // Only an empty directory is removed this way, so a mount that stayed loses nothing.
        let _still_mounted = fs::remove_dir(place.path());
    }
    if let Ok(entries) = fs::read_dir(path) {
        for file in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir())) {
            let _removed_next_time = fs::remove_file(file.path());
        }
    }
    let _removed_next_time = fs::remove_dir(path);
}
