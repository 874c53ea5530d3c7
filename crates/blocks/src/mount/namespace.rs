//! A thread with mounts of its own.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount, open_tree,
};
use rustix::thread::UnshareFlags;

use crate::error::{Error, IoContext as _, Result};

/// Runs `work` on a thread whose mounts nobody else sees, in an empty writable directory that is gone afterwards, and
/// mounts the detached mount that it returns on `target`.
pub(super) fn assemble(target: &Path, work: impl FnOnce() -> Result<OwnedFd> + Send) -> Result<()> {
    let detached = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(target)?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::Unsupported("the mounting thread died".to_owned())))
    })?;
    move_mount(detached, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("mount on", target)
}

/// Takes the mount at `path` out of this thread's namespace.
pub(super) fn detach(path: &Path) -> Result<OwnedFd> {
    open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .at("detach", path)
}

/// Gives the thread its own mounts and working directory: an empty tmpfs over the target, where nothing that is needed
/// can be hidden by it.
fn enter(target: &Path) -> Result<()> {
    // The unsafe twin of this function warns of one flag, FILES, which would give the thread other descriptors.
    #[expect(deprecated, reason = "without the FILES flag there is nothing unsafe about it")]
    let unshared = rustix::thread::unshare(UnshareFlags::NEWNS | UnshareFlags::FS);
    match unshared {
        Err(rustix::io::Errno::PERM) => {
            return Err(Error::Unsupported("mounting needs root (CAP_SYS_ADMIN)".to_owned()));
        }
        other => other.at("make a mount namespace for", target)?,
    }
    // Otherwise what is mounted here would appear everywhere.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at("make private", "/")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", target, "tmpfs", flags, None).at("mount a scratch directory on", target)?;
    rustix::process::chdir(target).at("enter", target)
}
