//! Mounting volumes and root filesystems, on Linux, without a second copy of anything.
//!
//! All steps happen in a mount namespace of one short-lived thread; only the finished mount leaves it. So a failure or a
//! kill at any moment leaves no mount behind, one `umount` undoes everything, and a mount goes on working when its cache
//! is deleted meanwhile: the kernel keeps the files open.
//!
//! Mounts are read-only, `nosuid` and `nodev`, since images come from anywhere. Needs root.

mod devices;
mod namespace;
mod overlay;
mod table;
mod unmount;
mod volume;

use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext as _, Result};

pub use overlay::{mount_image, mount_part};
pub use table::{MountPoint, mounts_below};
pub use unmount::{unmount, unmount_lazily};
pub use volume::mount_volume;

/// The directory to mount on, with all links followed.
fn target_directory(target: &Path) -> Result<PathBuf> {
    let target = std::fs::canonicalize(target).at("mount on", target)?;
    if target.is_dir() {
        return Ok(target);
    }
    Err(Error::Unsupported(format!(
        "{} is not a directory, so nothing can be mounted on it",
        target.display()
    )))
}
