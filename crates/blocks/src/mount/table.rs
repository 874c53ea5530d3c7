//! What is mounted where, as the kernel tells this process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{IoContext as _, Result};

/// What the kernel says is mounted where, for this process.
const MOUNTS: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is.
    pub path: PathBuf,
    /// Its filesystem.
    pub kind: String,
}

/// All mounts at or below `directory`, which must be a path without links. Later ones are mounted over earlier ones.
///
/// # Errors
/// `Io` without `/proc`.
pub fn mounts_below(directory: &Path) -> Result<Vec<MountPoint>> {
    let table = fs::read(MOUNTS).at("read", MOUNTS)?;
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let separator = fields.iter().position(|field| *field == b"-")?;
        let kind = String::from_utf8_lossy(fields.get(separator + 1)?).into_owned();
        let path = OsString::from_vec(unescape(fields.get(4)?)).into();
        Some(MountPoint { path, kind })
    });
    Ok(mounts.filter(|mount| mount.path.starts_with(directory)).collect())
}

/// Type of the filesystem on top at exactly this mount point.
pub(super) fn mounted_type(target: &Path) -> Result<Option<String>> {
    let mounts = mounts_below(target)?;
    let found = mounts.into_iter().rev().find(|mount| mount.path == target);
    Ok(found.map(|mount| mount.kind))
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
}
