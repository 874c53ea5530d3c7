//! The tree of an image while it is being built: a few dozen bytes for each inode, no file content.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attributes::{Attributes, Xattr};
use crate::disk::{FileType, NAME_BYTES, SYMLINK_BYTES, pack_device};
use crate::error::{Error, Result};
use crate::xattr;

/// An inode of a [`Tree`]. Ids of one tree mean nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// Where the bytes of a regular file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Already on the device, contiguous from this block.
    Extent {
        /// First block; any value when `size` is 0.
        start_block: u32,
        /// Size in bytes.
        size: u64,
    },
    /// Written by [`crate::Plan::write`] together with the metadata: for small files.
    Bytes(Vec<u8>),
}

/// What a new node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An empty directory.
    Directory,
    /// A regular file.
    Regular(Content),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number, below 4,096.
        major: u32,
        /// Minor number, below 1,048,576.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number, below 4,096.
        major: u32,
        /// Minor number, below 1,048,576.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Type-specific part of an inode, as compact as it goes.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Index into [`Tree::directories`].
    Directory(u32),
    Extent {
        start_block: u32,
        size: u64,
    },
    Bytes(Box<[u8]>),
    Symlink(Box<[u8]>),
    Device {
        packed: u32,
        kind: FileType,
    },
    Pipe(FileType),
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mtime_seconds: i64,
    pub(crate) mtime_nanoseconds: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Names that point here; directories count as one and get their subdirectories when written.
    pub(crate) links: u32,
    /// Index into [`Tree::xattr_sets`]; 0 is the empty set.
    pub(crate) xattrs: u32,
    pub(crate) mode: u16,
    pub(crate) body: Body,
}

impl Node {
    pub(crate) fn file_type(&self) -> FileType {
        match &self.body {
            Body::Directory(_) => FileType::Directory,
            Body::Extent { .. } | Body::Bytes(_) => FileType::Regular,
            Body::Symlink(_) => FileType::Symlink,
            Body::Device { kind, .. } | Body::Pipe(kind) => *kind,
        }
    }
}

pub(crate) type Children = BTreeMap<Box<[u8]>, NodeId>;

/// Permission, setuid, setgid and sticky bits.
pub(crate) const PERMISSION_BITS: u16 = 0o7777;
/// Nanoseconds in a second.
const NANOSECONDS: u32 = 1_000_000_000;

/// A filesystem tree: attributes, names and where each file's bytes are.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) directories: Vec<Children>,
    pub(crate) xattr_sets: Vec<Arc<[Xattr]>>,
    xattr_index: BTreeMap<Arc<[Xattr]>, u32>,
    metadata_bytes: u64,
}

impl Tree {
    /// A tree that holds only its root directory.
    ///
    /// # Errors
    /// Fails when an xattr of `root` cannot be stored.
    pub fn new(root: &Attributes) -> Result<Self> {
        let none: Arc<[Xattr]> = Arc::from([]);
        let mut tree = Self {
            nodes: Vec::new(),
            directories: Vec::new(),
            xattr_sets: vec![Arc::clone(&none)],
            xattr_index: BTreeMap::from([(none, 0)]),
            metadata_bytes: 0,
        };
        tree.push(b"", root, Kind::Directory)?;
        Ok(tree)
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// The node that `directory` holds under `name`.
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.children(directory)?.get(name).copied()
    }

    /// Type of a node.
    pub fn file_type(&self, node: NodeId) -> FileType {
        self.node(node).file_type()
    }

    /// Adds a node under a name that is still free.
    ///
    /// # Errors
    /// Fails when `parent` is no directory, the name is taken or not a file name, or an attribute cannot be stored.
    pub fn add(&mut self, parent: NodeId, name: &[u8], attributes: &Attributes, kind: Kind) -> Result<NodeId> {
        self.check_free(parent, name)?;
        let node = self.push(name, attributes, kind)?;
        self.enter(parent, name, node);
        Ok(node)
    }

    /// Gives a node that is no directory another name.
    ///
    /// # Errors
    /// Fails when `target` is a directory, or the name is taken or not a file name.
    pub fn link(&mut self, parent: NodeId, name: &[u8], target: NodeId) -> Result<()> {
        self.check_free(parent, name)?;
        if self.file_type(target) == FileType::Directory {
            return Err(Error::entry(name, "a hard link to a directory is not possible"));
        }
        self.enter(parent, name, target);
        self.node_mut(target).links += 1;
        Ok(())
    }

    /// Makes sure that a directory exists at `path` (`a/b/c`); missing ones get `attributes`.
    ///
    /// # Errors
    /// Fails when part of the path is taken by something else or is not a file name.
    pub fn make_directories(&mut self, path: &[u8], attributes: &Attributes) -> Result<NodeId> {
        let mut at = self.root();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            at = match self.child(at, name) {
                Some(child) if self.file_type(child) == FileType::Directory => child,
                Some(_) => return Err(Error::entry(path, "part of the path is not a directory")),
                None => self.add(at, name, attributes, Kind::Directory)?,
            };
        }
        Ok(at)
    }

    /// Removes a name and, for a directory, everything below it. A name that is not there is fine.
    pub fn remove(&mut self, parent: NodeId, name: &[u8]) {
        let Body::Directory(index) = self.node(parent).body else {
            return;
        };
        let Some(node) = self.directories[index as usize].remove(name) else {
            return;
        };
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            let links = &mut self.node_mut(node).links;
            *links = links.saturating_sub(1);
            if let Body::Directory(index) = self.node(node).body {
                doomed.extend(std::mem::take(&mut self.directories[index as usize]).into_values());
            }
        }
    }

    /// Replaces mode, owner and time; adds xattrs to those that are there, the new value winning.
    ///
    /// # Errors
    /// Fails when an xattr cannot be stored.
    pub fn merge_attributes(&mut self, node: NodeId, attributes: &Attributes) -> Result<()> {
        // Linux adds and replaces xattrs; none goes away because a later entry does not name it.
        let mut xattrs: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for xattr in self.xattrs(node).iter().chain(&attributes.xattrs) {
            xattrs.insert(xattr.name.clone(), xattr.value.clone());
        }
        let xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect();
        let set = self.intern(b"", xattrs)?;
        let entry = self.node_mut(node);
        entry.mode = attributes.mode & PERMISSION_BITS;
        entry.uid = attributes.uid;
        entry.gid = attributes.gid;
        entry.mtime_seconds = attributes.mtime_seconds;
        entry.mtime_nanoseconds = attributes.mtime_nanoseconds.min(NANOSECONDS - 1);
        entry.xattrs = set;
        Ok(())
    }

    /// Sets one xattr and leaves everything else.
    pub(crate) fn set_xattr(&mut self, node: NodeId, name: &[u8], value: &[u8]) -> Result<()> {
        let mut xattrs: Vec<Xattr> = self.xattr_sets[self.node(node).xattrs as usize].to_vec();
        xattrs.retain(|old| old.name != name);
        xattrs.push(Xattr {
            name: name.to_vec(),
            value: value.to_vec(),
        });
        self.node_mut(node).xattrs = self.intern(b"", xattrs)?;
        Ok(())
    }

    /// Names, targets and xattrs held so far, in bytes.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        self.metadata_bytes
    }

    pub(crate) fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }

    pub(crate) fn children(&self, directory: NodeId) -> Option<&Children> {
        match self.node(directory).body {
            Body::Directory(index) => self.directories.get(index as usize),
            _ => None,
        }
    }

    pub(crate) fn xattrs(&self, node: NodeId) -> &[Xattr] {
        &self.xattr_sets[self.node(node).xattrs as usize]
    }

    fn check_free(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let children = self
            .children(parent)
            .ok_or_else(|| Error::entry(name, "its parent is not a directory"))?;
        if children.contains_key(name) {
            return Err(Error::entry(name, "the name is already taken"));
        }
        Ok(())
    }

    fn enter(&mut self, parent: NodeId, name: &[u8], node: NodeId) {
        if let Body::Directory(index) = self.node(parent).body {
            self.metadata_bytes += name.len() as u64;
            self.directories[index as usize].insert(Box::from(name), node);
        }
    }

    fn push(&mut self, name: &[u8], attributes: &Attributes, kind: Kind) -> Result<NodeId> {
        let device = |major, minor| {
            pack_device(major, minor)
                .ok_or_else(|| Error::entry(name, format!("Linux has no device number {major}:{minor}")))
        };
        let body = match kind {
            Kind::Directory => {
                self.directories.push(Children::new());
                Body::Directory(self.directories.len() as u32 - 1)
            }
            Kind::Regular(Content::Extent { start_block, size }) => Body::Extent { start_block, size },
            Kind::Regular(Content::Bytes(bytes)) => Body::Bytes(bytes.into_boxed_slice()),
            Kind::Symlink(target) => Body::Symlink(check_target(name, target)?),
            Kind::CharDevice { major, minor } => Body::Device {
                packed: device(major, minor)?,
                kind: FileType::CharDevice,
            },
            Kind::BlockDevice { major, minor } => Body::Device {
                packed: device(major, minor)?,
                kind: FileType::BlockDevice,
            },
            Kind::Fifo => Body::Pipe(FileType::Fifo),
            Kind::Socket => Body::Pipe(FileType::Socket),
        };
        if let Body::Symlink(target) = &body {
            self.metadata_bytes += target.len() as u64;
        }
        let xattrs = self.intern(name, attributes.xattrs.clone())?;
        let id = u32::try_from(self.nodes.len())
            .map_err(|_| Error::limit("inodes", name, self.nodes.len() as u64, u64::from(u32::MAX)))?;
        self.nodes.push(Node {
            mtime_seconds: attributes.mtime_seconds,
            mtime_nanoseconds: attributes.mtime_nanoseconds.min(NANOSECONDS - 1),
            uid: attributes.uid,
            gid: attributes.gid,
            links: 1,
            xattrs,
            mode: attributes.mode & PERMISSION_BITS,
            body,
        });
        Ok(NodeId(id))
    }

    /// Stores a set of xattrs once, however many inodes carry it.
    fn intern(&mut self, path: &[u8], mut xattrs: Vec<Xattr>) -> Result<u32> {
        if xattrs.is_empty() {
            return Ok(0);
        }
        xattrs.sort();
        for xattr in &xattrs {
            xattr::check(path, xattr)?;
        }
        if let Some(twice) = xattrs.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let name = String::from_utf8_lossy(&twice[0].name).into_owned();
            return Err(Error::entry(path, format!("xattr {name:?} is given twice")));
        }
        let bytes = xattr::encoded_bytes(&xattrs);
        if xattr::count_for(bytes).is_none() {
            return Err(Error::limit("xattr bytes", path, bytes as u64, 4 * u64::from(u16::MAX)));
        }
        let set: Arc<[Xattr]> = Arc::from(xattrs);
        if let Some(index) = self.xattr_index.get(&set) {
            return Ok(*index);
        }
        let index = self.xattr_sets.len() as u32;
        self.metadata_bytes += bytes as u64;
        self.xattr_sets.push(Arc::clone(&set));
        self.xattr_index.insert(set, index);
        Ok(index)
    }
}

/// A name that a directory can hold.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::entry(name, "not a valid file name"));
    }
    if name.len() > NAME_BYTES {
        return Err(Error::limit(
            "file name bytes",
            name,
            name.len() as u64,
            NAME_BYTES as u64,
        ));
    }
    Ok(())
}

fn check_target(name: &[u8], target: Vec<u8>) -> Result<Box<[u8]>> {
    if target.is_empty() || target.contains(&0) {
        return Err(Error::entry(name, "its symlink target is empty or holds a NUL byte"));
    }
    if target.len() > SYMLINK_BYTES {
        return Err(Error::limit(
            "symlink target bytes",
            name,
            target.len() as u64,
            SYMLINK_BYTES as u64,
        ));
    }
    Ok(target.into_boxed_slice())
}
