//! `imagecache node --check`: what this host has, and what it lacks, to run the snapshotter.

mod containerd;
mod propagation;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use imagecache_core::chain;

use crate::catalog::{Catalog, Origin};
use crate::labels::Labels;
use crate::layout::Layout;
use crate::sources::Source;
use crate::status::Status;

/// Where kernel modules are, below the kernel's release.
const MODULES: &str = "/lib/modules";
/// `f_type` of overlayfs, which cannot hold the upper directories of another one.
const OVERLAY_MAGIC: i64 = 0x794c_7630;

/// How well a host does in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Fair,
    /// It does not work like this.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it is.
    pub grade: Grade,
    /// What was found, and what to do about it.
    pub text: String,
}

/// A host as it would be used.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The snapshotter's root directory.
    pub root: &'a Path,
    /// Its socket.
    pub socket: &'a Path,
    /// Where layers are.
    pub sources: &'a [Source],
    /// containerd's root; the usual places when it is not given.
    pub containerd_root: Option<&'a Path>,
    /// containerd's configuration; the usual places when it is not given.
    pub containerd_config: Option<&'a Path>,
}

/// Looks at this host as it would be used with these settings. Changes nothing.
pub fn check(host: &Host<'_>) -> Vec<Finding> {
    let root = host.root;
    let mut findings = vec![
        rights(),
        filesystem("erofs"),
        filesystem("overlay"),
        loops(),
        upper(root),
        propagation::check(root),
    ];
    findings.extend(host.sources.iter().map(|source| store(root, source)));
    findings.push(serving(host.socket));
    findings.extend(containerd::check(host));
    findings.extend(damage(root));
    findings
}

fn finding(subject: &'static str, grade: Grade, text: impl Into<String>) -> Finding {
    Finding {
        subject,
        grade,
        text: text.into(),
    }
}

fn rights() -> Finding {
    match rustix::process::geteuid().is_root() {
        true => finding("rights", Grade::Good, "running as root"),
        false => finding(
            "rights",
            Grade::Bad,
            "mounting needs root: run as root, in the host's mount namespace",
        ),
    }
}

fn filesystem(name: &'static str) -> Finding {
    let subject = if name == "erofs" {
        "kernel: erofs"
    } else {
        "kernel: overlay"
    };
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known
        .lines()
        .any(|line| line.split_whitespace().next_back() == Some(name))
    {
        return finding(subject, Grade::Good, "known to the kernel");
    }
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let modules = Path::new(MODULES).join(&*release).join("kernel/fs");
    let loadable = [name, "overlayfs"].iter().any(|directory| {
        let files = fs::read_dir(modules.join(directory)).into_iter().flatten().flatten();
        files
            .map(|file| file.file_name())
            .any(|file| file.to_string_lossy().starts_with(name))
    });
    match loadable {
        true => finding(
            subject,
            Grade::Good,
            format!("module `{name}` is there and is loaded when needed"),
        ),
        false => finding(
            subject,
            Grade::Bad,
            format!("kernel {release} lacks it: install the module `{name}`, or a kernel with it"),
        ),
    }
}

/// Linux mounts EROFS from a file from 6.12 on; before, and without that option, through loop devices.
fn loops() -> Finding {
    let tool = ["/usr/bin/mount", "/bin/mount", "/usr/sbin/mount"]
        .iter()
        .any(|path| Path::new(path).exists());
    match (tool, Path::new("/dev/loop-control").exists()) {
        (true, true) => finding(
            "loop devices",
            Grade::Good,
            "available, for kernels that cannot mount a file",
        ),
        _ => finding(
            "loop devices",
            Grade::Fair,
            "mount(8) or /dev/loop-control is missing: only kernels from 6.12 on can mount a file without",
        ),
    }
}

fn upper(root: &Path) -> Finding {
    let subject = "root directory";
    let place = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statfs(place) {
        Ok(stat) if stat.f_type == OVERLAY_MAGIC => finding(
            subject,
            Grade::Bad,
            format!(
                "{} is on overlayfs: choose a directory of the host with --root",
                root.display()
            ),
        ),
        Ok(stat) => {
            let free = stat
                .f_bavail
                .saturating_mul(u64::try_from(stat.f_bsize).unwrap_or_default())
                >> 30;
            finding(subject, Grade::Good, format!("{}, {free} GiB free", root.display()))
        }
        Err(error) => finding(subject, Grade::Bad, format!("{}: {error}", root.display())),
    }
}

fn store(root: &Path, source: &Source) -> Finding {
    let subject = "store";
    let path = match source {
        Source::Path(path) => path,
        Source::Label(label) => {
            return match Labels::default().find(label).as_deref() {
                Ok([device]) => finding(subject, Grade::Good, format!("{source} is {}", device.display())),
                Ok(several) => finding(
                    subject,
                    Grade::Fair,
                    format!("{source} is {} devices; one is used: {several:?}", several.len()),
                ),
                Err(error) => finding(subject, Grade::Fair, format!("{}; it may appear later", chain(error))),
            };
        }
    };
    if !path.is_dir() {
        return match path.exists() {
            true => finding(
                subject,
                Grade::Good,
                format!("{source} is a device or a file; it is read once it is mounted"),
            ),
            false => finding(
                subject,
                Grade::Fair,
                format!("{source} does not exist; it may appear later"),
            ),
        };
    }
    let catalog = Catalog::default();
    if let Err(error) = catalog.refresh(path, &Origin::Directory) {
        return finding(subject, Grade::Bad, chain(&error));
    }
    let (images, layers) = catalog.size();
    let held = format!("{source} holds {images} images with {layers} layers");
    match same_filesystem(root, path) {
        true => finding(subject, Grade::Good, held),
        false => finding(
            subject,
            Grade::Fair,
            format!(
                "{held}; it is not on the filesystem of {}, so a cache that is deleted while pods use it is gone after a reboot",
                root.display()
            ),
        ),
    }
}

fn same_filesystem(root: &Path, store: &Path) -> bool {
    let place = root.ancestors().find(|path| path.exists());
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    place.and_then(device) == device(store)
}

fn serving(socket: &Path) -> Finding {
    match UnixStream::connect(socket) {
        Ok(_) => finding("snapshotter", Grade::Good, format!("serves on {}", socket.display())),
        Err(_) => finding(
            "snapshotter",
            Grade::Fair,
            format!("nobody serves on {}: start `imagecache node`", socket.display()),
        ),
    }
}

/// What the running snapshotter found damaged.
fn damage(root: &Path) -> Vec<Finding> {
    let status = Status::read(&Layout::status_below(root))
        .ok()
        .flatten()
        .unwrap_or_default();
    let findings = status.damaged.into_iter().map(|image| {
        let file = PathBuf::from(image.file);
        finding(
            "damaged image",
            Grade::Bad,
            format!(
                "{}: {}; delete its caches and make them again",
                file.display(),
                image.reason
            ),
        )
    });
    findings.collect()
}
