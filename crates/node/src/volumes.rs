//! Volumes that serve as stores: block devices or files with a cache's EROFS filesystem.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use imagecache_blocks::mount::{mount_part, mounts_below, unmount};

use crate::error::{Error, Result};

/// Block devices of this machine.
const DEVICES: &str = "/sys/class/block";
/// Where the superblock is, and what it begins with.
const SUPERBLOCK: (u64, u32) = (1024, 0xE0F5_E1E2);
/// The label within the superblock; NULs fill it.
const LABEL: std::ops::Range<usize> = 64..80;

/// A mounted volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Inode and device numbers of what is mounted; another file or device under the same name has others.
    identity: (u64, u64, u64),
}

impl Volume {
    /// Has `device` mounted on `target`, read-only. `known` is what was mounted at the last look: a device that was replaced
    /// is mounted anew. Layers that are in use keep the old one alive.
    ///
    /// # Errors
    /// `Io` when there is no such device or file, or it holds no EROFS filesystem.
    pub(crate) fn mount(device: &Path, target: &Path, known: Option<&Self>) -> Result<Self> {
        let meta = fs::metadata(device).map_err(|error| Error::io("open", device, error))?;
        let volume = Self {
            identity: (meta.dev(), meta.ino(), meta.rdev()),
        };
        let mounted = !mounts_below(target)?.is_empty();
        match known {
            Some(known) if mounted && *known == volume => return Ok(volume),
            // One that an earlier process left may be of another device.
            _ if mounted => unmount_lazily(target)?,
            _ => {}
        }
        fs::create_dir_all(target).map_err(|error| Error::io("create", target, error))?;
        mount_part(device, target)?;
        Ok(volume)
    }
}

/// The block device whose filesystem has this label.
///
/// # Errors
/// `NotFound` when there is none.
pub(crate) fn find_label(label: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(DEVICES).map_err(|error| Error::io("read", DEVICES, error))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let devices = names.iter().map(|name| Path::new("/dev").join(name));
    let found = devices
        .into_iter()
        .find(|device| label_of(device).is_some_and(|found| found == label));
    found.ok_or_else(|| Error::Unavailable(format!("no block device has an EROFS filesystem with label `{label}`")))
}

/// The label of an EROFS filesystem.
fn label_of(device: &Path) -> Option<String> {
    let (offset, magic) = SUPERBLOCK;
    let mut head = [0; LABEL.end];
    File::open(device).ok()?.read_exact_at(&mut head, offset).ok()?;
    if !head.starts_with(&magic.to_le_bytes()) {
        return None;
    }
    let label = head.get(LABEL)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(label).into_owned())
}

/// Takes a mount away that may be in use; what uses it keeps it.
fn unmount_lazily(target: &Path) -> Result<()> {
    if unmount(target).is_ok() {
        return Ok(());
    }
    let lazily = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
    lazily.map_err(|error| Error::io("unmount", target, error.into()))
}
