//! Directory data: names packed into blocks in the one order that the kernel's binary search expects.

use crate::disk::{BLOCK, DIRENT_BYTES, FileType};
use crate::tree::{Children, NodeId};

/// One name of a directory, `.` and `..` included.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) node: NodeId,
    pub(crate) role: Role,
}

/// `.` and `..` point to directories whatever the node table says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Child,
    Dot,
}

/// All names of a directory, ascending bytewise over the whole directory.
pub(crate) fn sorted(children: &Children, this: NodeId, parent: NodeId) -> impl Iterator<Item = Entry<'_>> {
    let mut dots = [(&b"."[..], this), (&b".."[..], parent)].into_iter().peekable();
    let mut names = children.iter().peekable();
    std::iter::from_fn(move || {
        let dot_first = match (dots.peek(), names.peek()) {
            (Some((dot, _)), Some((name, _))) => *dot < name.as_ref(),
            (Some(_), None) => true,
            _ => false,
        };
        if dot_first {
            dots.next().map(|(name, node)| Entry {
                name,
                node,
                role: Role::Dot,
            })
        } else {
            names.next().map(|(name, node)| Entry {
                name,
                node: *node,
                role: Role::Child,
            })
        }
    })
}

/// Size of a directory's data: whole blocks, and the used part of the last one (1 to 4,096 bytes).
pub(crate) fn measure<'a>(entries: impl Iterator<Item = Entry<'a>>) -> (u32, usize) {
    let (mut whole, mut used) = (0u32, 0usize);
    for entry in entries {
        let need = DIRENT_BYTES + entry.name.len();
        if used + need > BLOCK {
            whole += 1;
            used = 0;
        }
        used += need;
    }
    (whole, used)
}

/// Collects the entries of one block and lays them out.
#[derive(Default)]
pub(crate) struct BlockBuilder<'a> {
    entries: Vec<(&'a [u8], u64, FileType)>,
    used: usize,
}

impl<'a> BlockBuilder<'a> {
    /// Whether another name still fits.
    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        self.used + DIRENT_BYTES + name.len() <= BLOCK
    }

    pub(crate) fn push(&mut self, name: &'a [u8], nid: u64, kind: FileType) {
        self.used += DIRENT_BYTES + name.len();
        self.entries.push((name, nid, kind));
    }

    /// The used bytes of the block; the builder is empty afterwards.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        let mut name_offset = self.entries.len() * DIRENT_BYTES;
        for (name, nid, kind) in &self.entries {
            block.extend_from_slice(&nid.to_le_bytes());
            // At most one block, so the offset fits 16 bits.
            block.extend_from_slice(&(name_offset as u16).to_le_bytes());
            block.push(*kind as u8);
            block.push(0);
            name_offset += name.len();
        }
        for (name, ..) in &self.entries {
            block.extend_from_slice(name);
        }
        self.entries.clear();
        self.used = 0;
        block
    }
}
