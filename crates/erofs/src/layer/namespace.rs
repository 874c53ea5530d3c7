//! How paths are looked up in the layer that is being built.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::resolve::{Namespace, Step};
use crate::tree::{Body, NodeId, Tree};

/// A tree in which whiteouts count as missing: what they name is gone, so that it can be created anew.
pub(super) struct View<'a> {
    pub(super) tree: &'a Tree,
    pub(super) whiteouts: &'a BTreeSet<NodeId>,
}

impl Namespace for View<'_> {
    type Node = NodeId;

    fn root(&self) -> NodeId {
        self.tree.root()
    }

    fn step(&self, directory: NodeId, name: &[u8]) -> Result<Step<NodeId>> {
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
