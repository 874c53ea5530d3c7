//! Compares two directory trees path by path, in everything that a container can see.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Differences that an error lists; the rest is counted.
const SHOWN: usize = 20;

/// Read at once when hashing.
const BUFFER_BYTES: usize = 1 << 20;

/// What is compared, and what the two makers legitimately do differently.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Directories whose time no tar holds: whoever makes them chooses it.
    pub any_time: &'static [&'static str],
    /// The right tree was made after this second: a directory that is younger there is one whose time no tar holds.
    pub right_made_after: Option<i64>,
}

impl Rules {
    /// Everything, to the nanosecond.
    pub const EXACT: Self = Self {
        any_time: &[],
        right_made_after: None,
    };
}

/// One path, in the attributes that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// Bytes of a regular file; a directory's size belongs to its filesystem.
    size: Option<u64>,
    content: Option<String>,
    target: Option<PathBuf>,
    device: Option<(u32, u32)>,
    /// Number of links, and the first path (in order) that is the same file; not for directories.
    links: Option<(u64, PathBuf)>,
    xattrs: BTreeMap<String, String>,
    /// Seconds and nanoseconds; not for the root, which a tool may create by itself, nor where the rules say so.
    mtime: Option<(i64, i64)>,
}

/// Fails, naming the differences, unless both trees are the same.
pub fn same_tree(left: (&str, &Path), right: (&str, &Path), rules: Rules) -> Result<()> {
    let differences = differences(left, right, rules)?;
    if differences.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} and {} differ in {} places:", left.0, right.0, differences.len());
    for difference in differences.iter().take(SHOWN) {
        write!(text, "\n  {difference}")?;
    }
    bail!(text)
}

/// Every difference, one line each.
pub fn differences(left: (&str, &Path), right: (&str, &Path), rules: Rules) -> Result<Vec<String>> {
    let (ours, theirs) = (read_tree(left.1, rules)?, read_tree(right.1, rules)?);
    let mut found = Vec::new();
    for (path, entry) in &ours {
        match theirs.get(path) {
            None => found.push(format!("/{} is only in {}", path.display(), left.0)),
            Some(other) => {
                let mut entry = entry.clone();
                if rules.made_by_the_right(other) {
                    entry.mtime = other.mtime;
                }
                found.extend(entry.against(other, path, left.0, right.0));
            }
        }
    }
    let only = theirs.keys().filter(|path| !ours.contains_key(*path));
    found.extend(only.map(|path| format!("/{} is only in {}", path.display(), right.0)));
    Ok(found)
}

impl Rules {
    fn made_by_the_right(&self, entry: &Entry) -> bool {
        let (Some(start), Some((seconds, _))) = (self.right_made_after, entry.mtime) else {
            return false;
        };
        entry.kind == "directory" && seconds >= start
    }
}

impl Entry {
    fn against(&self, other: &Self, path: &Path, left: &str, right: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut field = |name: &str, ours: String, theirs: String| {
            if ours != theirs {
                found.push(format!(
                    "/{}: {name} is {ours} in {left}, {theirs} in {right}",
                    path.display()
                ));
            }
        };
        field("type", self.kind.into(), other.kind.into());
        field("mode", format!("{:o}", self.mode), format!("{:o}", other.mode));
        field("owner", format!("{:?}", self.owner), format!("{:?}", other.owner));
        field("size", format!("{:?}", self.size), format!("{:?}", other.size));
        field("content", format!("{:?}", self.content), format!("{:?}", other.content));
        field("target", format!("{:?}", self.target), format!("{:?}", other.target));
        field("device", format!("{:?}", self.device), format!("{:?}", other.device));
        field("links", format!("{:?}", self.links), format!("{:?}", other.links));
        field("xattrs", format!("{:?}", self.xattrs), format!("{:?}", other.xattrs));
        field("mtime", format!("{:?}", self.mtime), format!("{:?}", other.mtime));
        found
    }
}

/// Every path below `root`, and `root` itself as the empty path.
fn read_tree(root: &Path, rules: Rules) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut paths = vec![PathBuf::new()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        let full = join(root, &path);
        if fs::symlink_metadata(&full)?.is_dir() {
            for child in fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))? {
                paths.push(path.join(child?.file_name()));
            }
        }
    }
    paths.sort();
    let mut first_of: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for path in paths {
        let full = join(root, &path);
        let meta = fs::symlink_metadata(&full)?;
        let first = first_of
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| path.clone())
            .clone();
        let mut entry = read_entry(&full, &meta, first).with_context(|| format!("cannot read {}", full.display()))?;
        if path.as_os_str().is_empty() || rules.any_time.iter().any(|free| path == Path::new(free)) {
            entry.mtime = None;
        }
        tree.insert(path, entry);
    }
    Ok(tree)
}

/// `join("")` would add a slash, which follows a symbolic link.
fn join(root: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        root.to_owned()
    } else {
        root.join(path)
    }
}

fn read_entry(full: &Path, meta: &Metadata, first: PathBuf) -> Result<Entry> {
    let kind = meta.file_type();
    let (name, regular, device) = match kind {
        _ if kind.is_dir() => ("directory", false, false),
        _ if kind.is_file() => ("file", true, false),
        _ if kind.is_symlink() => ("symlink", false, false),
        _ if kind.is_fifo() => ("fifo", false, false),
        _ if kind.is_socket() => ("socket", false, false),
        _ if kind.is_char_device() => ("character device", false, true),
        _ => ("block device", false, true),
    };
    Ok(Entry {
        kind: name,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        size: regular.then_some(meta.size()),
        content: if regular { Some(hash(full)?) } else { None },
        target: if kind.is_symlink() {
            Some(fs::read_link(full)?)
        } else {
            None
        },
        device: device.then(|| (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()))),
        links: (!kind.is_dir()).then(|| (meta.nlink(), first)),
        xattrs: xattrs(full)?,
        mtime: Some((meta.mtime(), meta.mtime_nsec())),
    })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Extended attributes, values in hexadecimal.
fn xattrs(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value)?;
        found.insert(
            String::from_utf8_lossy(name).into_owned(),
            hex::encode(&value[..length]),
        );
    }
    Ok(found)
}
