//! Files as something that EROFS can be mounted from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, IoContext as _, Result};

/// Loop devices over files, for a filesystem on several; each goes away with its last user. losetup(8) cannot ask for that from
/// the beginning, so a kill before the mount is finished leaves them.
#[derive(Debug, Default)]
pub(super) struct LoopDevices {
    devices: Vec<PathBuf>,
}

impl LoopDevices {
    /// Makes a read-only loop device of `file`.
    pub(super) fn attach(&mut self, file: &Path) -> Result<PathBuf> {
        let arguments: [OsString; 4] = ["--read-only".into(), "--find".into(), "--show".into(), file.into()];
        let device = PathBuf::from(run("losetup", &arguments)?.trim());
        self.devices.push(device.clone());
        Ok(device)
    }
}

impl Drop for LoopDevices {
    fn drop(&mut self) {
        for device in &self.devices {
            // A mounted device stays until it is unmounted; then the kernel frees it.
            if let Err(error) = run("losetup", &["--detach".into(), device.into()]) {
                tracing::warn!(device = %device.display(), %error, "cannot free a loop device");
            }
        }
    }
}

/// Runs a system tool and gives its output.
pub(super) fn run(program: &str, arguments: &[OsString]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().at("run", program)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Unsupported(format!("`{program}` failed: {}", said.trim())))
}
