//! How paths are looked up in the layer that is being built.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::resolve::{Namespace, Step};
use crate::tree::{Body, NodeId, Tree};

/// A tree in which whiteouts count as missing: what they name is gone, so that it can be created anew.
pub(super) struct View<'a> {
    pub(super) tree: &'a Tree,
    pub(super) whiteouts: &'a BTreeSet<NodeId>,
    /// Names looked up for this layer so far.
    pub(super) lookups: &'a Cell<u64>,
}

/// Names looked up for one layer: many times what four million deep paths need. Without a bound, a small layer of
/// chained links would keep a core busy for hours.
const MAX_LOOKUPS: u64 = 1 << 30;

impl Namespace for View<'_> {
    type Node = NodeId;

    fn root(&self) -> NodeId {
        self.tree.root()
    }

    fn step(&self, directory: NodeId, name: &[u8]) -> Result<Step<NodeId>> {
        self.lookups.set(self.lookups.get() + 1);
        if self.lookups.get() > MAX_LOOKUPS {
            return Err(Error::limit("path lookups", name, self.lookups.get(), MAX_LOOKUPS));
        }
        let Some(node) = self.tree.child(directory, name) else {
            return Ok(Step::Missing);
        };
        Ok(match &self.tree.node(node).body {
            Body::Directory(_) => Step::Directory(node),
            Body::Symlink(target) => Step::Link(target.to_vec()),
            _ if self.whiteouts.contains(&node) => Step::Missing,
            _ => Step::Other(node),
        })
    }
}
