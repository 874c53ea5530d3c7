//! Snapshots and mounted images together, under one lock.

use std::path::PathBuf;

use imagecache_core::Digest;

use crate::book::Book;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::layout::Layout;
use crate::snapshot::{CachedLayer, Content, Kind, REFERENCE_LABEL, Snapshot};

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    /// What there is.
    pub(crate) book: Book,
    /// What is mounted.
    pub(crate) images: Images,
    /// The number that was given last, to a directory or an image.
    pub(crate) last_number: u64,
}

impl State {
    /// A snapshot that others can be made upon.
    pub(crate) fn committed(&self, name: &str) -> Result<&Snapshot> {
        let parent = self.book.snapshot(name).ok_or_else(|| not_found(name))?;
        match parent.kind {
            Kind::Committed => Ok(parent),
            _ => Err(Error::InvalidArgument(format!("parent {name} is not committed"))),
        }
    }

    /// `parent` and what is below it, as far down as it is seen.
    pub(crate) fn ancestors(&self, parent: Option<&str>) -> Result<Vec<&Snapshot>> {
        let mut ancestors = Vec::new();
        let mut next = parent;
        while let Some(name) = next {
            let snapshot = self.book.snapshot(name).ok_or_else(|| not_found(name))?;
            ancestors.push(snapshot);
            next = match &snapshot.content {
                Content::Cached(layer) if layer.hides_below => None,
                _ => snapshot.parent.as_deref(),
            };
        }
        Ok(ancestors)
    }

    /// Whether the same layer was committed upon the same parent, for this or another namespace, and can be used.
    /// containerd looks for it by its label.
    pub(crate) fn cached_twin(&self, layout: &Layout, chain_id: &Digest, parent: Option<&str>) -> bool {
        self.book.snapshots().any(|snapshot| match &snapshot.content {
            Content::Cached(layer) => {
                layer.chain_id == *chain_id
                    && snapshot.parent.as_deref() == parent
                    && snapshot.labels.get(REFERENCE_LABEL) == Some(&chain_id.to_string())
                    && self.is_usable(layout, layer)
            }
            Content::Directory(_) => false,
        })
    }

    pub(crate) fn is_usable(&self, layout: &Layout, layer: &CachedLayer) -> bool {
        let usable = |part| self.images.usable(layout, &self.book, part).is_some();
        layer.parts.iter().all(usable)
    }

    /// Directories from `parent` down, top first.
    pub(crate) fn lowers(&self, layout: &Layout, parent: Option<&str>) -> Result<Vec<PathBuf>> {
        let mut lowers = Vec::new();
        for snapshot in self.ancestors(parent)? {
            match &snapshot.content {
                Content::Directory(number) => lowers.push(layout.files(*number)),
                Content::Cached(layer) => {
                    for part in &layer.parts {
                        let place = self.images.usable(layout, &self.book, part);
                        lowers.push(place.ok_or_else(|| Error::Unavailable(format!("{part} is not mounted")))?);
                    }
                }
            }
        }
        Ok(lowers)
    }
}

pub(crate) fn not_found(name: &str) -> Error {
    Error::NotFound(name.to_owned())
}
