//! Undoing a mount.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::table::mounted_type;
use crate::error::{Error, IoContext as _, Result};

/// Filesystems that we mount.
const OURS: [&str; 2] = ["erofs", "overlay"];

/// Unmounts a volume or root filesystem. Everything that it was made of is freed with it.
///
/// # Errors
/// `Unsupported` when something else or nothing is mounted there; `Io` when it is in use.
pub fn unmount(target: &Path) -> Result<()> {
    unmount_with(target, UnmountFlags::NOFOLLOW)
}

/// Takes a mount away from its place at once; whoever uses it keeps it, and the kernel frees it after the last one.
///
/// # Errors
/// `Unsupported` when something else or nothing is mounted there.
pub fn unmount_lazily(target: &Path) -> Result<()> {
    unmount_with(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
}

fn unmount_with(target: &Path, flags: UnmountFlags) -> Result<()> {
    let target = fs::canonicalize(target).at("unmount", target)?;
    match mounted_type(&target)? {
        Some(kind) if OURS.contains(&kind.as_str()) => {}
        Some(kind) => {
            let text = format!(
                "{} is a mount of {kind}, which imagecache did not make",
                target.display()
            );
            return Err(Error::Unsupported(text));
        }
        None => {
            return Err(Error::Unsupported(format!(
                "nothing is mounted on {}",
                target.display()
            )));
        }
    }
    match rustix::mount::unmount(&target, flags) {
        Err(Errno::PERM) => Err(Error::Unsupported("unmounting needs root (CAP_SYS_ADMIN)".to_owned())),
        other => other.at("unmount", &target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_seen_as_what_it_is() {
        assert_eq!(mounted_type(Path::new("/proc")).unwrap().as_deref(), Some("proc"));
        assert_eq!(mounted_type(Path::new("/proc/self")).unwrap(), None);
        let error = unmount(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().contains("did not make"), "{error}");
    }
}
