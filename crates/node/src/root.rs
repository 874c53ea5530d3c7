//! What containerd must mount to see the files of a snapshot.

use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::snapshot::{Content, Kind, Snapshot};
use crate::wire::Mount;

/// The mounts of an active snapshot or a view upon these directories, top first: as containerd's own overlay snapshotter says
/// it.
///
/// # Errors
/// `FailedPrecondition` for a committed snapshot.
pub(crate) fn root_mounts(layout: &Layout, snapshot: &Snapshot, lowers: &[PathBuf]) -> Result<Vec<Mount>> {
    let number = match (&snapshot.content, snapshot.kind) {
        (Content::Directory(number), Kind::Active | Kind::View) => *number,
        _ => {
            return Err(Error::FailedPrecondition(format!(
                "snapshot {} is committed",
                snapshot.name
            )));
        }
    };
    let own = layout.files(number);
    let writable = snapshot.kind == Kind::Active;
    let mount = match lowers {
        [] => bind(&own, if writable { "rw" } else { "ro" }),
        // Overlayfs wants two directories at least.
        [only] if !writable => bind(only, "ro"),
        lowers => {
            let mut options: Vec<String> = disk::overlay_index_off().map(str::to_owned).into_iter().collect();
            if writable {
                options.push(format!("workdir={}", layout.work(number).display()));
                options.push(format!("upperdir={}", own.display()));
            }
            let lowers: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
            options.push(format!("lowerdir={}", lowers.join(":")));
            mount("overlay", "overlay".to_owned(), options)
        }
    };
    Ok(vec![mount])
}

fn bind(directory: &Path, access: &str) -> Mount {
    mount(
        "bind",
        directory.display().to_string(),
        vec![access.to_owned(), "rbind".to_owned()],
    )
}

fn mount(kind: &str, source: String, options: Vec<String>) -> Mount {
    Mount {
        r#type: kind.to_owned(),
        source,
        target: String::new(),
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Labels;

    /// What one page of mount options leaves for lower directories, as containerd counts.
    const ROOM: usize = 4096 - 512;

    fn mounts(kind: Kind, lowers: &[&str]) -> Result<(String, String, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let snapshot = Snapshot::new("s", None, kind, Labels::new(), Content::Directory(7));
        let lowers: Vec<PathBuf> = lowers.iter().map(PathBuf::from).collect();
        let mut mounts = root_mounts(&layout, &snapshot, &lowers)?;
        assert_eq!(mounts.len(), 1);
        let mount = mounts.remove(0);
        let root = layout.snapshots().display().to_string();
        let options = mount.options.iter().filter(|option| *option != "index=off");
        let options = options.map(|option| option.replace(&root, "S")).collect();
        Ok((mount.r#type, mount.source.replace(&root, "S"), options))
    }

    #[test]
    fn mounts_are_those_of_the_overlay_snapshotter() {
        let writable = ["workdir=S/7/work", "upperdir=S/7/fs"];
        for (name, kind, lowers, expected) in [
            (
                "nothing below",
                Kind::Active,
                &[][..],
                ("bind", "S/7/fs", vec!["rw", "rbind"]),
            ),
            ("empty view", Kind::View, &[], ("bind", "S/7/fs", vec!["ro", "rbind"])),
            ("view of one", Kind::View, &["/a"], ("bind", "/a", vec!["ro", "rbind"])),
            (
                "view of two",
                Kind::View,
                &["/b", "/a"],
                ("overlay", "overlay", vec!["lowerdir=/b:/a"]),
            ),
            (
                "writable",
                Kind::Active,
                &["/b", "/a"],
                ("overlay", "overlay", [&writable[..], &["lowerdir=/b:/a"]].concat()),
            ),
        ] {
            let (kind, source, options) = mounts(kind, lowers).unwrap();
            assert_eq!((kind.as_str(), source.as_str()), (expected.0, expected.1), "{name}");
            assert_eq!(options, expected.2, "{name}");
        }
        assert!(mounts(Kind::Committed, &[]).is_err());
    }

    #[test]
    fn hundreds_of_layers_fit_into_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        // containerd enters the common directory, so only what follows it counts. Numbers grow with a node's age.
        let names = (100_000..100_250).map(|number| layout.files(number));
        let relative = names.map(|path| path.strip_prefix(layout.snapshots()).unwrap().display().to_string());
        let joined = relative.collect::<Vec<_>>().join(":");
        assert!(joined.len() < ROOM, "{} bytes", joined.len());
    }
}
