//! What containerd takes for the disk of images.
//!
//! Its CRI plugin tells kubelet that images lie in `<root>/io.containerd.snapshotter.v1.<name>`, unless the proxy plugin exports
//! another `root`, which 1.6 and 1.7 do not know. Without that directory kubelet reports `invalid capacity 0 on image
//! filesystem` and stops collecting images.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What comes before the name of a snapshotter.
const PREFIX: &str = "io.containerd.snapshotter.v1.";
/// The name that containerd's configuration gives ours.
pub(crate) const SNAPSHOTTER: &str = "imagecache";

/// Where containerd with this root looks.
pub(crate) fn image_filesystem(containerd_root: &Path) -> PathBuf {
    containerd_root.join(format!("{PREFIX}{SNAPSHOTTER}"))
}

/// Has containerd measure the disk that `root` is on. What is there already stays.
///
/// # Errors
/// `Io` when the link cannot be made; `InvalidArgument` when there is no containerd below `containerd_root`.
pub fn show_image_filesystem(containerd_root: &Path, root: &Path) -> Result<()> {
    if !containerd_root.is_dir() {
        return Err(Error::InvalidArgument(format!(
            "containerd has no directory {}: give the `root` of its configuration",
            containerd_root.display()
        )));
    }
    let target = fs::canonicalize(root).map_err(|error| Error::io("open", root, error))?;
    let link = image_filesystem(containerd_root);
    // A link that leads nowhere is left from another root.
    if link.is_symlink() && !link.exists() {
        fs::remove_file(&link).map_err(|error| Error::io("replace", &link, error))?;
    }
    match symlink(target, &link) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::io("create", link, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_finds_the_disk_of_our_root() {
        let dir = tempfile::tempdir().unwrap();
        let (containerd, root) = (dir.path().join("containerd"), dir.path().join("root"));
        fs::create_dir(&root).unwrap();
        let error = show_image_filesystem(&containerd, &root).unwrap_err();
        assert!(error.to_string().contains("no directory"), "{error}");
        fs::create_dir(&containerd).unwrap();
        let link = image_filesystem(&containerd);
        symlink(dir.path().join("gone"), &link).unwrap();
        for round in ["first", "again"] {
            show_image_filesystem(&containerd, &root).unwrap();
            assert_eq!(
                fs::canonicalize(&link).unwrap(),
                fs::canonicalize(&root).unwrap(),
                "{round}"
            );
        }
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        show_image_filesystem(&containerd, &root).unwrap();
        assert!(
            link.is_dir() && !link.is_symlink(),
            "a directory of somebody else's stays"
        );
    }
}
