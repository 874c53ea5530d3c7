//! Block devices by the label of their EROFS filesystem.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::volumes::VolumeMark;

/// Block devices of this machine.
const DEVICES: &str = "/sys/class/block";
/// Where the superblock is, and what it begins with.
const SUPERBLOCK: (u64, u32) = (1024, 0xE0F5_E1E2);
/// The label within the superblock; NULs fill it.
const LABEL: std::ops::Range<usize> = 64..80;
/// How often every device is read again: a hypervisor may write to one without a trace here.
const FORGET: Duration = Duration::from_secs(30);

/// Labels of the devices that there are; each device is read once.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    seen: BTreeMap<PathBuf, (VolumeMark, Option<String>)>,
    begun: Option<Instant>,
}

impl Labels {
    /// The block devices whose filesystem has this label, by name.
    ///
    /// # Errors
    /// `Unavailable` when there is none.
    pub(crate) fn find(&mut self, label: &str) -> Result<Vec<PathBuf>> {
        if self.begun.is_none_or(|begun| begun.elapsed() > FORGET) {
            self.seen.clear();
            self.begun = Some(Instant::now());
        }
        let entries = fs::read_dir(DEVICES).map_err(|error| Error::io("read", DEVICES, error))?;
        let devices: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| !is_empty(&entry.path()))
            .map(|entry| Path::new("/dev").join(entry.file_name()))
            .collect();
        self.seen.retain(|device, _| devices.contains(device));
        for device in devices {
            let Ok(mark) = VolumeMark::of(&device) else { continue };
            if self.seen.get(&device).is_none_or(|(known, _)| *known != mark) {
                let label = label_of(&device);
                self.seen.insert(device, (mark, label));
            }
        }
        let fitting = self
            .seen
            .iter()
            .filter(|(_, (_, found))| found.as_deref() == Some(label));
        let fitting: Vec<PathBuf> = fitting.map(|(device, _)| device.clone()).collect();
        match fitting.is_empty() {
            true => Err(Error::Unavailable(format!(
                "no block device has an EROFS filesystem with label `{label}`"
            ))),
            false => Ok(fitting),
        }
    }
}

/// Whether a device has no bytes, as a loop device without file.
fn is_empty(system: &Path) -> bool {
    fs::read_to_string(system.join("size")).is_ok_and(|size| size.trim() == "0")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop device that goes with the test.
    struct Loop(PathBuf);

    impl Loop {
        fn over(file: &Path) -> Self {
            let losetup = std::process::Command::new("losetup")
                .args(["--find", "--show"])
                .arg(file)
                .output();
            Self(String::from_utf8(losetup.unwrap().stdout).unwrap().trim().into())
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            let _ = std::process::Command::new("losetup")
                .arg("--detach")
                .arg(&self.0)
                .status();
        }
    }

    fn superblock(label: &str) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[1024..1028].copy_from_slice(&SUPERBLOCK.1.to_le_bytes());
        bytes[1024 + 64..1024 + 64 + label.len()].copy_from_slice(label.as_bytes());
        bytes
    }

    #[test]
    #[ignore = "needs root"]
    fn devices_are_found_when_they_appear_or_change() {
        let dir = tempfile::tempdir().unwrap();
        let label = format!("t{}", std::process::id());
        let files = ["a", "b"].map(|name| dir.path().join(name));
        for file in &files {
            fs::write(file, superblock(&label)).unwrap();
        }
        let mut labels = Labels::default();
        assert!(labels.find(&label).is_err());
        let first = Loop::over(&files[0]);
        assert_eq!(labels.find(&label).unwrap(), std::slice::from_ref(&first.0));
        let second = Loop::over(&files[1]);
        assert_eq!(labels.find(&label).unwrap().len(), 2);
        // Written through the device itself.
        fs::File::options()
            .write(true)
            .open(&first.0)
            .unwrap()
            .write_all_at(&superblock("other"), 0)
            .unwrap();
        assert_eq!(labels.find(&label).unwrap(), std::slice::from_ref(&second.0));
        drop(second);
        assert!(labels.find(&label).is_err());
    }

    #[test]
    fn labels_are_read_from_the_superblock() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("device");
        fs::write(&file, superblock("images")).unwrap();
        assert_eq!(label_of(&file).as_deref(), Some("images"));
        fs::write(&file, vec![0; 4096]).unwrap();
        assert_eq!(label_of(&file), None);
        fs::write(&file, "short").unwrap();
        assert_eq!(label_of(&file), None);
    }
}
