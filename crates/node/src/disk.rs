//! Directories of snapshots: making and measuring them.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::error::{Error, Result};
use crate::snapshot::Usage;

/// Unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;
/// There when the kernel has the option, whatever its default is.
const INDEX_PARAMETER: &str = "/sys/module/overlay/parameters/index";

/// Makes a new directory with exactly this mode.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().mode(mode).create(path);
    // The process's umask may have taken bits away.
    let made = made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    made.map_err(|error| Error::io("create", path, error))
}

/// What a tree takes on disk. What vanishes meanwhile takes nothing.
pub(crate) fn usage(tree: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let mut left = vec![tree.to_owned()];
    while let Some(path) = left.pop() {
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", path, error)),
        };
        if meta.nlink() > 1 && !meta.is_dir() && !linked.insert((meta.dev(), meta.ino())) {
            continue;
        }
        usage.inodes += 1;
        usage.bytes += meta.blocks() * STAT_BLOCK_BYTES;
        if meta.is_dir() {
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.flatten().map(|entry| entry.path())),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
    }
    Ok(usage)
}

/// The option that lets two containers have the same lower directories, where the kernel knows it.
pub(crate) fn overlay_index_off() -> Option<&'static str> {
    // Asked each time: the module may be loaded later.
    Path::new(INDEX_PARAMETER).exists().then_some("index=off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        make_directory(&tree, 0o755).unwrap();
        let empty = usage(&tree).unwrap();
        fs::write(tree.join("a"), vec![1; 100_000]).unwrap();
        fs::create_dir(tree.join("d")).unwrap();
        let before = usage(&tree).unwrap();
        assert_eq!(before.inodes, empty.inodes + 2);
        assert!(before.bytes >= empty.bytes + 100_000, "{before:?}");
        fs::hard_link(tree.join("a"), tree.join("d/b")).unwrap();
        assert_eq!(usage(&tree).unwrap().inodes, before.inodes);
        assert_eq!(usage(&dir.path().join("none")).unwrap(), Usage::default());
    }
}
