//! Undoing a mount.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{Error, IoContext as _, Result};

/// What the kernel says is mounted where, for this process.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Filesystems that we mount.
const OURS: [&str; 2] = ["erofs", "overlay"];

/// Unmounts a volume or root filesystem. Everything that it was made of is freed with it.
///
/// # Errors
/// `Unsupported` when something else or nothing is mounted there; `Io` when it is in use.
pub fn unmount(target: &Path) -> Result<()> {
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
    match rustix::mount::unmount(&target, UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => Err(Error::Unsupported("unmounting needs root (CAP_SYS_ADMIN)".to_owned())),
        other => other.at("unmount", &target),
    }
}

/// Type of the filesystem on top at exactly this mount point.
fn mounted_type(target: &Path) -> Result<Option<String>> {
    let table = fs::read(MOUNTS).at("read", MOUNTS)?;
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let separator = fields.iter().position(|field| *field == b"-")?;
        let kind = String::from_utf8_lossy(fields.get(separator + 1)?).into_owned();
        Some((unescape(fields.get(4)?), kind))
    });
    // Later lines are mounted over earlier ones.
    let found = mounts.rev().find(|(path, _)| path == target.as_os_str().as_bytes());
    Ok(found.map(|(_, kind)| kind))
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let octal = more
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let code = octal.map(|digits| {
            digits
                .iter()
                .fold(0_u32, |code, digit| code * 8 + u32::from(digit - b'0'))
        });
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                path.push(*first);
                rest = more;
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_escapes_are_undone() {
        for (field, path) in [
            ("/a", "/a"),
            ("/a\\040b", "/a b"),
            ("/a\\134040", "/a\\040"),
            ("/end\\04", "/end\\04"),
        ] {
            assert_eq!(unescape(field.as_bytes()), path.as_bytes(), "{field}");
        }
    }

    #[test]
    fn proc_is_seen_as_what_it_is() {
        assert_eq!(mounted_type(Path::new("/proc")).unwrap().as_deref(), Some("proc"));
        assert_eq!(mounted_type(Path::new("/proc/self")).unwrap(), None);
        let error = unmount(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().contains("did not make"), "{error}");
    }
}
