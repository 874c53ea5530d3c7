//! What a mount reads from: the file itself, or a loop device over it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// How the kernel is given a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// As it is: Linux 6.12 mounts EROFS from a regular file.
    File,
    /// Through a read-only loop device, made by `losetup` of util-linux.
    Loop,
}

/// A file that can be mounted.
#[derive(Debug)]
pub(super) struct Backed {
    path: PathBuf,
    backing: Backing,
}

impl Backing {
    /// Makes `file` mountable.
    pub(super) fn attach(self, file: &Path) -> Result<Backed> {
        let path = match self {
            Self::File => file.to_owned(),
            Self::Loop => losetup(&["--find", "--show", "--read-only"], file)?,
        };
        Ok(Backed { path, backing: self })
    }
}

impl Backed {
    /// What to give to mount(2).
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Backed {
    fn drop(&mut self) {
        // A loop device that is mounted goes when it is unmounted; this one lets go of ours.
        if self.backing == Backing::Loop
            && let Err(error) = losetup(&["--detach"], &self.path)
        {
            tracing::warn!(device = %self.path.display(), %error, "cannot detach a loop device");
        }
    }
}

fn losetup(options: &[&str], file: &Path) -> Result<PathBuf> {
    let output = Command::new("losetup")
        .args(options)
        .arg(file)
        .output()
        .map_err(|source| Error::io("run losetup (package mount or util-linux) for", file, source))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Unsupported(format!("no loop device for {}: {said}", file.display())));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
