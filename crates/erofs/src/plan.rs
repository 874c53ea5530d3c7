//! Where every inode and directory block goes, and writing them out in ascending order.
//!
//! Layout of the metadata, in blocks from where it is written: inodes (each with its xattrs and, where it fits, its
//! directory tail or symlink target), then whole directory blocks, then the contents of small files.

use std::io::Write;

use crate::dirent::{self, BlockBuilder, Role};
use crate::disk::{
    BLOCK, BLOCK_BYTES, EXTENDED_INODE_BYTES, FileType, LAYOUT_INLINE, LAYOUT_PLAIN, NID_BYTES, NO_BLOCK, blocks_for,
};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::tree::{Body, NodeId, Tree};
use crate::xattr;

/// Node id of the root. Not 0: `readdir` drops entries whose inode number is 0.
pub(crate) const ROOT_NID: u16 = 2;

/// A measured [`Tree`]: how many blocks its metadata needs, wherever it is put.
#[derive(Debug)]
pub struct Plan<'a> {
    tree: &'a Tree,
    /// Inodes in the order in which they are written.
    order: Vec<NodeId>,
    /// By node: its nid, 0 while it has none.
    nids: Vec<u32>,
    /// By directory index.
    placed: Vec<Placed>,
    inode_bytes: u64,
    blocks: u32,
}

/// What the plan knows about one directory.
#[derive(Clone, Copy, Debug)]
struct Placed {
    parent: NodeId,
    subdirectories: u32,
    whole_blocks: u32,
    tail_bytes: usize,
}

/// How an inode keeps data that is not an extent of its own.
#[derive(Clone, Copy)]
struct Shape {
    /// Bytes right behind inode and xattrs.
    inline: usize,
    /// Blocks in the data part of the metadata.
    blocks: u32,
    size: u64,
}

impl<'a> Plan<'a> {
    /// Measures the tree and gives every reachable inode its place.
    ///
    /// # Errors
    /// Fails when the metadata would not fit the format's 32-bit addresses.
    pub fn new(tree: &'a Tree) -> Result<Self> {
        let root = tree.root();
        let unplaced = Placed {
            parent: root,
            subdirectories: 0,
            whole_blocks: 0,
            tail_bytes: 0,
        };
        let mut plan = Self {
            tree,
            order: Vec::new(),
            nids: vec![0; tree.nodes.len()],
            placed: vec![unplaced; tree.directories.len()],
            inode_bytes: u64::from(ROOT_NID) * NID_BYTES,
            blocks: 0,
        };
        plan.measure_directory(root, root);
        plan.place(root)?;
        let mut pending = vec![root];
        while let Some(directory) = pending.pop() {
            let first = pending.len();
            // A directory's inodes lie side by side, so that listing it with attributes reads few blocks.
            for child in tree
                .children(directory)
                .into_iter()
                .flat_map(|children| children.values())
            {
                if plan.nids[child.0 as usize] != 0 {
                    continue;
                }
                if tree.file_type(*child) == FileType::Directory {
                    plan.measure_directory(*child, directory);
                    pending.push(*child);
                }
                plan.place(*child)?;
            }
            pending[first..].reverse();
        }
        let mut blocks = blocks_for(plan.inode_bytes);
        for node in &plan.order {
            blocks += u64::from(plan.shape(*node).blocks);
        }
        plan.blocks =
            u32::try_from(blocks).map_err(|_| Error::limit("metadata blocks", b"", blocks, u64::from(u32::MAX)))?;
        Ok(plan)
    }

    /// Blocks that [`Plan::write`] writes.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Number of inodes, for the superblock.
    pub fn inodes(&self) -> u64 {
        self.order.len() as u64
    }

    /// Writes the metadata as it must lie from block `meta_block` on: [`Plan::blocks`] whole blocks, in order.
    ///
    /// # Errors
    /// Fails when `out` does, or when an address passes 32 bits.
    pub fn write<W: Write>(&self, meta_block: u32, out: W) -> Result<()> {
        if meta_block.checked_add(self.blocks).is_none() {
            let needed = u64::from(meta_block) + u64::from(self.blocks);
            return Err(Error::limit("blocks", b"", needed, u64::from(u32::MAX)));
        }
        let mut out = Output::new(out);
        self.write_to(meta_block, &mut out)?;
        out.flush()
    }

    /// As [`Plan::write`], behind whatever `out` already got.
    pub(crate) fn write_to<W: Write>(&self, meta_block: u32, out: &mut Output<W>) -> Result<()> {
        let start = out.position();
        // Fits: the sum with all data blocks was checked above.
        let mut next = meta_block + blocks_for(self.inode_bytes) as u32;
        for (index, node) in self.order.iter().enumerate() {
            let at = u64::from(self.nids[node.0 as usize]) * NID_BYTES;
            out.zeros(start + at - out.position())?;
            self.write_inode(*node, index as u32 + 1, &mut next, out)?;
        }
        out.pad_to_block()?;
        for node in &self.order {
            self.write_blocks(*node, out)?;
        }
        Ok(())
    }

    fn measure_directory(&mut self, node: NodeId, parent: NodeId) {
        let (Body::Directory(index), Some(children)) = (&self.tree.node(node).body, self.tree.children(node)) else {
            return;
        };
        let (mut whole_blocks, mut tail_bytes) = dirent::measure(dirent::sorted(children, node, parent));
        if tail_bytes == BLOCK {
            (whole_blocks, tail_bytes) = (whole_blocks + 1, 0);
        }
        let subdirectories = children
            .values()
            .filter(|child| self.tree.file_type(**child) == FileType::Directory)
            .count() as u32;
        self.placed[*index as usize] = Placed {
            parent,
            subdirectories,
            whole_blocks,
            tail_bytes,
        };
    }

    /// Decides inline or not. A tail must share the block of its inode: Linux 5.4 reads it from there only.
    fn shape(&self, node: NodeId) -> Shape {
        let head = EXTENDED_INODE_BYTES + xattr::encoded_bytes(self.tree.xattrs(node));
        let shape = |whole: u32, tail: usize| {
            let size = u64::from(whole) * BLOCK_BYTES + tail as u64;
            if tail > 0 && head + tail > BLOCK {
                Shape {
                    inline: 0,
                    blocks: whole + 1,
                    size,
                }
            } else {
                Shape {
                    inline: tail,
                    blocks: whole,
                    size,
                }
            }
        };
        match &self.tree.node(node).body {
            Body::Directory(index) => {
                let placed = &self.placed[*index as usize];
                shape(placed.whole_blocks, placed.tail_bytes)
            }
            Body::Symlink(target) => shape(0, target.len()),
            Body::Bytes(bytes) => Shape {
                inline: 0,
                blocks: blocks_for(bytes.len() as u64) as u32,
                size: bytes.len() as u64,
            },
            Body::Extent { size, .. } => Shape {
                inline: 0,
                blocks: 0,
                size: *size,
            },
            Body::Device { .. } | Body::Pipe(_) => Shape {
                inline: 0,
                blocks: 0,
                size: 0,
            },
        }
    }

    fn place(&mut self, node: NodeId) -> Result<()> {
        let xattr_bytes = xattr::encoded_bytes(self.tree.xattrs(node));
        let bytes = (EXTENDED_INODE_BYTES + xattr_bytes + self.shape(node).inline) as u64;
        let mut at = self.inode_bytes.next_multiple_of(NID_BYTES);
        if at % BLOCK_BYTES + bytes > BLOCK_BYTES {
            at = at.next_multiple_of(BLOCK_BYTES);
        }
        self.nids[node.0 as usize] = u32::try_from(at / NID_BYTES)
            .map_err(|_| Error::limit("metadata bytes", b"", at, u64::from(u32::MAX) * NID_BYTES))?;
        self.inode_bytes = at + bytes;
        self.order.push(node);
        Ok(())
    }

    fn write_inode<W: Write>(&self, id: NodeId, number: u32, next: &mut u32, out: &mut Output<W>) -> Result<()> {
        let node = self.tree.node(id);
        let shape = self.shape(id);
        let xattrs = xattr::encode(self.tree.xattrs(id));
        let location = match &node.body {
            Body::Extent { start_block, size } => {
                if *size == 0 {
                    0
                } else {
                    *start_block
                }
            }
            Body::Device { packed, .. } => *packed,
            Body::Pipe(_) => 0,
            _ if shape.blocks > 0 => {
                let start = *next;
                *next += shape.blocks;
                start
            }
            _ => NO_BLOCK,
        };
        let links = match &node.body {
            Body::Directory(index) => self.placed[*index as usize].subdirectories + 2,
            _ => node.links,
        };
        let layout = if shape.inline > 0 { LAYOUT_INLINE } else { LAYOUT_PLAIN };
        let mut inode = [0u8; EXTENDED_INODE_BYTES];
        let mut put = |at: usize, bytes: &[u8]| inode[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &(1 | layout << 1).to_le_bytes());
        put(2, &xattr::count_for(xattrs.len()).unwrap_or(0).to_le_bytes());
        put(4, &(node.mode | node.file_type().mode_bits()).to_le_bytes());
        put(8, &shape.size.to_le_bytes());
        put(16, &location.to_le_bytes());
        put(20, &number.to_le_bytes());
        put(24, &node.uid.to_le_bytes());
        put(28, &node.gid.to_le_bytes());
        put(32, &node.mtime_seconds.to_le_bytes());
        put(40, &node.mtime_nanoseconds.to_le_bytes());
        put(44, &links.to_le_bytes());
        out.write(&inode)?;
        out.write(&xattrs)?;
        if shape.inline > 0 {
            match &node.body {
                Body::Symlink(target) => out.write(target)?,
                _ => self.directory_blocks(id, |index, bytes| {
                    if index >= shape.blocks {
                        out.write(bytes)
                    } else {
                        Ok(())
                    }
                })?,
            }
        }
        Ok(())
    }

    /// Writes the blocks that [`Plan::write_inode`] promised.
    fn write_blocks<W: Write>(&self, id: NodeId, out: &mut Output<W>) -> Result<()> {
        let shape = self.shape(id);
        if shape.blocks == 0 {
            return Ok(());
        }
        match &self.tree.node(id).body {
            Body::Directory(_) => self.directory_blocks(id, |index, bytes| {
                if index < shape.blocks {
                    out.write(bytes)?;
                    out.pad_to_block()?;
                }
                Ok(())
            }),
            Body::Symlink(bytes) | Body::Bytes(bytes) => {
                out.write(bytes)?;
                out.pad_to_block()
            }
            _ => Ok(()),
        }
    }

    /// Hands out a directory's blocks with their index; only used bytes, without padding.
    fn directory_blocks(&self, id: NodeId, mut sink: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let (Body::Directory(index), Some(children)) = (&self.tree.node(id).body, self.tree.children(id)) else {
            return Ok(());
        };
        let mut block = BlockBuilder::default();
        let mut done = 0;
        for entry in dirent::sorted(children, id, self.placed[*index as usize].parent) {
            if !block.fits(entry.name) {
                sink(done, &block.take())?;
                done += 1;
            }
            let kind = match entry.role {
                Role::Dot => FileType::Directory,
                Role::Child => self.tree.file_type(entry.node),
            };
            block.push(entry.name, u64::from(self.nids[entry.node.0 as usize]), kind);
        }
        sink(done, &block.take())
    }
}
