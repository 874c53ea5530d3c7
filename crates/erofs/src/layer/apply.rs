//! What each tar entry does to the layer's tree: containerd's rules for overlay layers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::namespace::View;
use super::{ExternalLink, attributes};
use crate::attributes::{Attributes, Xattr};
use crate::disk::FileType;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::resolve::{clean, path_bytes, resolve};
use crate::tar::{Entry, EntryKind};
use crate::tree::{Content, Kind, NodeId, Tree};
use crate::xattr;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// AUFS metadata, never content of an image.
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";

/// Whether the entry's data belongs into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Wanted,
    Skipped,
}

/// A layer while its tar is being read.
pub(super) struct Layer<'a> {
    limits: &'a Limits,
    tree: Tree,
    whiteouts: BTreeSet<NodeId>,
    implicit: BTreeSet<NodeId>,
    /// Links to lower layers, by the directory and name they would have.
    external: BTreeMap<(NodeId, Vec<u8>), Vec<u8>>,
    root_is_opaque: bool,
    lookups: Cell<u64>,
    /// The parent of the last entry: most entries follow one in the same directory.
    last_parent: Option<(Vec<u8>, NodeId)>,
}

/// A layer whose tar was read to its end.
pub(super) struct Finished {
    pub(super) tree: Tree,
    pub(super) implicit_directories: Vec<Vec<u8>>,
    pub(super) external_links: Vec<ExternalLink>,
    pub(super) root_is_opaque: bool,
}

impl<'a> Layer<'a> {
    pub(super) fn new(limits: &'a Limits) -> Result<Self> {
        let tree = Tree::new(&Attributes::directory())?;
        let implicit = BTreeSet::from([tree.root()]);
        Ok(Self {
            limits,
            tree,
            whiteouts: BTreeSet::new(),
            implicit,
            external: BTreeMap::new(),
            root_is_opaque: false,
            lookups: Cell::new(0),
            last_parent: None,
        })
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Applies one entry; a regular file's data will lie at `start_block`.
    pub(super) fn apply(&mut self, entry: &Entry, start_block: u32) -> Result<Data> {
        if let EntryKind::Other(flag) = entry.kind {
            let shown = char::from(flag).escape_default();
            return Err(Error::entry(&entry.path, format!("tar type '{shown}' is not known")));
        }
        let names = clean(&entry.path);
        self.check_path(&entry.path, &names)?;
        let Some((name, parents)) = names.split_last() else {
            if entry.kind == EntryKind::Directory {
                let root = self.tree.root();
                self.tree
                    .merge_attributes(root, &self.attributes(entry, FileType::Directory)?)?;
                self.implicit.remove(&root);
            }
            return Ok(Data::Skipped);
        };
        if names[0].starts_with(WHITEOUT_META_PREFIX) && names[..] != [OPAQUE_MARKER] {
            return Ok(Data::Skipped);
        }
        let parent = self.parent(&entry.path, parents)?;
        if *name == OPAQUE_MARKER {
            self.set_opaque(parent)?;
            return Ok(Data::Skipped);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
            self.whiteout(entry, parent, hidden)?;
            return Ok(Data::Skipped);
        }
        self.create(entry, parent, name, start_block)
    }

    fn create(&mut self, entry: &Entry, parent: NodeId, name: &[u8], start_block: u32) -> Result<Data> {
        let existing = self.tree.child(parent, name);
        let mut over_whiteout = false;
        if let Some(node) = existing {
            if entry.kind == EntryKind::Directory && self.tree.file_type(node) == FileType::Directory {
                self.tree
                    .merge_attributes(node, &self.attributes(entry, FileType::Directory)?)?;
                self.implicit.remove(&node);
                return Ok(Data::Skipped);
            }
            over_whiteout = self.whiteouts.contains(&node);
            self.remove(parent, name, node);
        }
        self.external.remove(&(parent, name.to_vec()));
        let device = |limit: i64| u32::try_from(limit).unwrap_or(u32::MAX);
        let (major, minor) = (device(entry.device.0), device(entry.device.1));
        let kind = match entry.kind {
            EntryKind::HardLink => {
                self.hard_link(entry, parent, name)?;
                return Ok(Data::Skipped);
            }
            EntryKind::Regular => Kind::Regular(Content::Extent {
                start_block,
                size: entry.size,
            }),
            EntryKind::Symlink => Kind::Symlink(entry.link.clone()),
            EntryKind::CharDevice => Kind::CharDevice { major, minor },
            EntryKind::BlockDevice => Kind::BlockDevice { major, minor },
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::Directory | EntryKind::Other(_) => Kind::Directory,
        };
        let file_type = match &kind {
            Kind::Regular(_) => FileType::Regular,
            Kind::Directory => FileType::Directory,
            Kind::Symlink(_) => FileType::Symlink,
            _ => FileType::Fifo,
        };
        let mut attributes = self.attributes(entry, file_type)?;
        if file_type == FileType::Symlink {
            // Linux gives every symlink this mode whatever the tar says.
            attributes.mode = 0o777;
        }
        let node = self
            .tree
            .add(parent, name, &attributes, kind)
            .map_err(|error| in_entry(error, &entry.path))?;
        if over_whiteout && file_type == FileType::Directory {
            self.set_opaque(node)?;
        }
        Ok(if file_type == FileType::Regular {
            Data::Wanted
        } else {
            Data::Skipped
        })
    }

    /// Removes what an entry replaces, and what is known about everything below it.
    fn remove(&mut self, parent: NodeId, name: &[u8], node: NodeId) {
        self.tree.remove(parent, name);
        self.whiteouts.remove(&node);
        self.last_parent = None;
    }

    fn hard_link(&mut self, entry: &Entry, parent: NodeId, name: &[u8]) -> Result<()> {
        let names = clean(&entry.link);
        self.check_path(&entry.link, &names)?;
        let Some((target_name, target_parents)) = names.split_last() else {
            return Err(Error::entry(&entry.path, "a hard link to the root directory"));
        };
        let view = View {
            tree: &self.tree,
            whiteouts: &self.whiteouts,
            lookups: &self.lookups,
        };
        let directory = resolve(&view, target_parents, self.limits.max_path_bytes)?;
        if directory.other.is_some() {
            return Err(Error::entry(
                &entry.link,
                "it is below a file, and a hard link points to it",
            ));
        }
        let inside = directory.missing.is_empty();
        let target = if inside {
            self.tree.child(directory.directory, target_name)
        } else {
            None
        };
        match target {
            Some(node) if !self.whiteouts.contains(&node) => {
                self.tree
                    .link(parent, name, node)
                    .map_err(|error| in_entry(error, &entry.path))?;
                let file_type = self.tree.file_type(node);
                let mut attributes = self.attributes(entry, file_type)?;
                if file_type == FileType::Symlink {
                    attributes.mode = 0o777;
                }
                self.tree.merge_attributes(node, &attributes)
            }
            _ => {
                let mut path = directory.found;
                path.extend(directory.missing);
                path.push(target_name.to_vec());
                if inside && directory.directory == parent && *target_name == name {
                    return Err(Error::entry(&entry.path, "a hard link to itself"));
                }
                let known = self
                    .external
                    .get(&(directory.directory, target_name.to_vec()))
                    .filter(|_| inside);
                let target = known.cloned().unwrap_or_else(|| path.join(&b'/'));
                self.external.insert((parent, name.to_vec()), target);
                Ok(())
            }
        }
    }

    fn whiteout(&mut self, entry: &Entry, parent: NodeId, hidden: &[u8]) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::entry(&entry.path, "a whiteout without a file name"));
        }
        match self.tree.child(parent, hidden) {
            // The whiteout is for the lower layers: what this layer holds stays, but no longer merges with theirs.
            Some(node) if self.tree.file_type(node) == FileType::Directory => self.set_opaque(node),
            Some(_) => Ok(()),
            None => {
                let attributes = Attributes {
                    mode: 0,
                    ..attributes(entry)?
                };
                let node = self
                    .tree
                    .add(parent, hidden, &attributes, Kind::CharDevice { major: 0, minor: 0 })
                    .map_err(|error| in_entry(error, &entry.path))?;
                self.whiteouts.insert(node);
                Ok(())
            }
        }
    }

    fn set_opaque(&mut self, directory: NodeId) -> Result<()> {
        self.root_is_opaque |= directory == self.tree.root();
        self.tree.set_xattr(directory, OPAQUE_XATTR, b"y")
    }

    /// The directory that holds an entry; missing levels are created.
    fn parent(&mut self, path: &[u8], parents: &[&[u8]]) -> Result<NodeId> {
        let key = parents.join(&b'/');
        if let Some((_, node)) = self.last_parent.as_ref().filter(|(last, _)| *last == key) {
            return Ok(*node);
        }
        let view = View {
            tree: &self.tree,
            whiteouts: &self.whiteouts,
            lookups: &self.lookups,
        };
        let resolved = resolve(&view, parents, self.limits.max_path_bytes).map_err(|error| in_entry(error, path))?;
        if resolved.other.is_some() {
            return Err(Error::entry(path, "its parent is not a directory"));
        }
        let mut directory = resolved.directory;
        if resolved.found.len() + resolved.missing.len() >= self.limits.max_depth {
            let depth = resolved.found.len() + resolved.missing.len() + 1;
            return Err(Error::limit(
                "directory levels",
                path,
                depth as u64,
                self.limits.max_depth as u64,
            ));
        }
        for name in &resolved.missing {
            let whiteout = self.tree.child(directory, name);
            if let Some(node) = whiteout {
                self.remove(directory, name, node);
            }
            self.external.remove(&(directory, name.clone()));
            let node = self
                .tree
                .add(directory, name, &Attributes::directory(), Kind::Directory)
                .map_err(|error| in_entry(error, path))?;
            if whiteout.is_some() {
                // The lower directory is gone, so there is nothing to look like.
                self.set_opaque(node)?;
            } else {
                self.implicit.insert(node);
            }
            directory = node;
        }
        self.last_parent = Some((key, directory));
        Ok(directory)
    }

    fn check_path(&self, path: &[u8], names: &[&[u8]]) -> Result<()> {
        let bytes = path_bytes(names);
        if bytes > self.limits.max_path_bytes {
            return Err(Error::limit(
                "path bytes",
                path,
                bytes as u64,
                self.limits.max_path_bytes as u64,
            ));
        }
        if names.len() > self.limits.max_depth {
            return Err(Error::limit(
                "directory levels",
                path,
                names.len() as u64,
                self.limits.max_depth as u64,
            ));
        }
        names
            .iter()
            .try_for_each(|name| crate::tree::check_name(name).map_err(|error| in_entry(error, path)))
    }

    /// Attributes of an entry with the xattrs that Linux would let containerd set on such a file.
    fn attributes(&self, entry: &Entry, file_type: FileType) -> Result<Attributes> {
        let plain = matches!(file_type, FileType::Regular | FileType::Directory);
        let kept = |xattr: &&Xattr| {
            let name = xattr.name.as_slice();
            match xattr::split_name(name) {
                None => false,
                Some(_) if name.starts_with(b"trusted.") => false,
                Some(_) if name.starts_with(b"user.") => plain,
                Some(_) if name == b"system.posix_acl_default" => file_type == FileType::Directory,
                Some(_) if name.starts_with(b"system.") => file_type != FileType::Symlink,
                Some(_) => true,
            }
        };
        let xattrs: Vec<Xattr> = entry.xattrs.iter().filter(kept).cloned().collect();
        let bytes = xattr::encoded_bytes(&xattrs);
        if bytes > self.limits.max_xattr_bytes {
            return Err(Error::limit(
                "xattr bytes",
                &entry.path,
                bytes as u64,
                self.limits.max_xattr_bytes as u64,
            ));
        }
        Ok(Attributes {
            xattrs,
            ..attributes(entry)?
        })
    }

    pub(super) fn finish(self) -> Result<Finished> {
        let mut external = self.external;
        let mut implicit_directories = Vec::new();
        let mut external_links = Vec::new();
        let mut pending = vec![(self.tree.root(), Vec::new())];
        while let Some((directory, path)) = pending.pop() {
            let below = |name: &[u8]| {
                if path.is_empty() {
                    name.to_vec()
                } else {
                    [&path, name].join(&b'/')
                }
            };
            // What stays in the map belongs to directories that a later entry replaced.
            let mut of_directory = external.split_off(&(directory, Vec::new()));
            external.append(&mut of_directory.split_off(&(NodeId(directory.0 + 1), Vec::new())));
            for ((_, name), target) in of_directory {
                external_links.push(ExternalLink {
                    path: below(&name),
                    target,
                });
            }
            for (name, node) in self.tree.children(directory).into_iter().flatten() {
                if self.tree.file_type(*node) == FileType::Directory {
                    pending.push((*node, below(name)));
                }
            }
            if self.implicit.contains(&directory) {
                implicit_directories.push(path);
            }
        }
        implicit_directories.sort();
        external_links.sort();
        Ok(Finished {
            tree: self.tree,
            implicit_directories,
            external_links,
            root_is_opaque: self.root_is_opaque,
        })
    }
}

/// Errors of the tree name a file name only; this puts the entry's whole path there.
fn in_entry(error: Error, path: &[u8]) -> Error {
    match error {
        Error::Entry { reason, .. } => Error::entry(path, reason),
        Error::Limit {
            what, needed, limit, ..
        } => Error::limit(what, path, needed, limit),
        other => other,
    }
}
