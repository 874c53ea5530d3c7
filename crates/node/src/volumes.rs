//! Volumes that serve as stores: block devices or files with a cache's EROFS filesystem.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use imagecache_blocks::mount::{mount_part, mounts_below, unmount_lazily};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::file_state::FileState;

/// Block devices by number.
const DEVICE_NUMBERS: &str = "/sys/dev/block";
/// A file or device that was written to more recently is probably being copied.
const QUIET: Duration = Duration::from_secs(2);

/// A device or file at one moment. A write through the same kernel gives it another mark; what a hypervisor writes does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMark {
    /// The device or file.
    device: PathBuf,
    state: FileState,
    /// Number of the block device; `None` for a file.
    number: Option<u64>,
    /// Another number for every disk that appears (Linux 5.15).
    sequence: Option<u64>,
}

impl VolumeMark {
    /// What is there now.
    ///
    /// # Errors
    /// `Io` when nothing is.
    pub(crate) fn of(device: &Path) -> Result<Self> {
        let meta = fs::metadata(device).map_err(|error| Error::io("open", device, error))?;
        let number = meta.file_type().is_block_device().then(|| meta.rdev());
        Ok(Self {
            device: device.to_owned(),
            state: FileState::of(&meta),
            number,
            sequence: number.and_then(sequence_of),
        })
    }

    /// Where it is.
    pub(crate) fn device(&self) -> &Path {
        &self.device
    }

    /// Whether a mount of it still reads what it read when this mark was taken. The kernel keeps a file that is removed, and
    /// no device.
    pub(crate) fn holds(&self) -> bool {
        if let Some(number) = self.number
            && Path::new(DEVICE_NUMBERS).exists()
            && (!system_directory(number).exists() || sequence_of(number) != self.sequence)
        {
            return false;
        }
        FileState::at(&self.device).map_or(true, |now| !self.state.is_written_in(now))
    }
}

/// A mounted volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// What is mounted.
    pub(crate) mark: VolumeMark,
}

impl Volume {
    /// Has `device` mounted on `target`, read-only. `known` is what was mounted at the last look: a device that was replaced
    /// or written to is mounted anew. Layers that are in use keep the old one alive.
    ///
    /// # Errors
    /// `Io` when there is no such device or file, or it holds no EROFS filesystem; `Unavailable` while it is being written.
    pub(crate) fn mount(device: &Path, target: &Path, known: Option<&Self>) -> Result<Self> {
        let mark = VolumeMark::of(device)?;
        let mounted = !mounts_below(target)?.is_empty();
        match known {
            Some(known) if mounted && known.mark == mark => return Ok(known.clone()),
            // One that an earlier process left may be of another device.
            _ if mounted => unmount_lazily(target)?,
            _ => {}
        }
        if is_being_written(device) {
            return Err(Error::Unavailable(format!("{} is being written", device.display())));
        }
        fs::create_dir_all(target).map_err(|error| Error::io("create", target, error))?;
        mount_part(device, target)?;
        // What was written while it was mounted shows at the next look.
        Ok(Self { mark })
    }
}

/// Takes the mount point of a volume away; whoever uses the mount keeps it.
///
/// # Errors
/// `Io`.
pub(crate) fn remove_mount(target: &Path) -> Result<()> {
    // One may lie over another.
    while !mounts_below(target)?.is_empty() {
        unmount_lazily(target)?;
    }
    match fs::remove_dir(target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", target, error)),
        _ => Ok(()),
    }
}

fn is_being_written(device: &Path) -> bool {
    let modified = fs::metadata(device).and_then(|meta| meta.modified());
    // A time to come is a clock that was wrong, which says nothing.
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < QUIET))
}

fn system_directory(number: u64) -> PathBuf {
    let name = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    Path::new(DEVICE_NUMBERS).join(name)
}

fn sequence_of(number: u64) -> Option<u64> {
    let text = fs::read_to_string(system_directory(number).join("diskseq")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_is_written_to_does_not_hold_and_one_that_is_gone_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("volume");
        fs::write(&file, "one").unwrap();
        let mark = VolumeMark::of(&file).unwrap();
        assert!(mark.holds());
        assert!(is_being_written(&file), "a moment ago");
        let opened = fs::File::options().append(true).open(&file).unwrap();
        (&opened).write_all(b"more").unwrap();
        assert!(!mark.holds(), "written to");
        let mark = VolumeMark::of(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(mark.holds(), "the kernel keeps what is mounted");
        fs::write(&file, "two").unwrap();
        assert!(mark.holds(), "another file");
        opened.set_modified(SystemTime::now() - QUIET).unwrap();
        assert!(VolumeMark::of(dir.path().join("none").as_path()).is_err());
    }

    #[test]
    fn a_device_that_is_gone_does_not_hold() {
        let mark = VolumeMark {
            device: "/dev/none".into(),
            state: FileState::at(Path::new("/")).unwrap(),
            number: Some(u64::MAX >> 20),
            sequence: None,
        };
        assert!(!mark.holds());
    }
}
