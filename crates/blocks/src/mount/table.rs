//! The kernel's mount table: what is mounted where.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::OVERLAY_SOURCE;
use crate::error::{Error, IoContext as _, Result};

const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    point: PathBuf,
    filesystem: String,
    source: String,
}

/// Refuses a target that nothing can be mounted on, or that something is mounted on already.
pub(super) fn check_target(target: &Path) -> Result<()> {
    let path = fs::canonicalize(target).at("mount on", target)?;
    if !path.is_dir() {
        return Err(Error::Unsupported(format!("{} is not a directory", target.display())));
    }
    match find(&path)? {
        Some(entry) => Err(Error::Unsupported(format!(
            "{} is a mount point already ({} from {})",
            target.display(),
            entry.filesystem,
            entry.source
        ))),
        None => Ok(()),
    }
}

/// Refuses a target that this program did not mount.
pub(super) fn check_ours(target: &Path) -> Result<()> {
    let path = fs::canonicalize(target).at("unmount", target)?;
    let ours = |entry: &Entry| match entry.filesystem.as_str() {
        "overlay" => entry.source == OVERLAY_SOURCE,
        "erofs" => true,
        _ => false,
    };
    match find(&path)? {
        None => Err(Error::Unsupported(format!("nothing is mounted on {}", target.display()))),
        Some(entry) if !ours(&entry) => Err(Error::Unsupported(format!(
            "{} ({} from {}) was not mounted by imagecache; use umount",
            target.display(),
            entry.filesystem,
            entry.source
        ))),
        Some(_) => Ok(()),
    }
}

/// The topmost mount on exactly this path.
fn find(path: &Path) -> Result<Option<Entry>> {
    let table = fs::read(MOUNT_TABLE).at("read", MOUNT_TABLE)?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).rfind(|entry| entry.point == path))
}

/// One line of the table (proc(5)): `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let filesystem = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    Some(Entry { point: PathBuf::from(OsString::from_vec(point)), filesystem, source })
}

/// Space, tab, newline and backslash stand as three octal digits after a backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let line = br"36 35 98:0 / /mnt/with\040space rw,noatime master:1 shared:2 - overlay imagecache rw,lowerdir=/a:/b";
        let entry = parse(line).unwrap();
        assert_eq!(entry.point, Path::new("/mnt/with space"));
        assert_eq!((entry.filesystem.as_str(), entry.source.as_str()), ("overlay", "imagecache"));
        for short in ["", "36 35 98:0 /", "36 35 98:0 / /mnt rw"] {
            assert_eq!(parse(short.as_bytes()), None, "{short}");
        }
    }
}
