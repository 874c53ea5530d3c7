//! Every name of an image, in one deterministic order.

use std::collections::BTreeSet;

use super::{Image, Inode, ReadAt};
use crate::disk::FileType;
use crate::error::{Error, Result};

/// Longest path that a walk follows: far above what Linux can open, and a bound on what a damaged image costs.
const MAX_PATH_BYTES: usize = 64 << 10;

impl<R: ReadAt> Image<R> {
    /// Calls `visit` with every path (without leading slash, the root being empty) and its inode.
    ///
    /// A directory comes before what is in it; the names of one directory ascend.
    ///
    /// # Errors
    /// Fails when the image is damaged (also when a directory has two names), when it has more than `max_entries`
    /// names, or when `visit` fails.
    pub fn walk(&self, max_entries: u64, mut visit: impl FnMut(&[u8], &Inode) -> Result<()>) -> Result<()> {
        let root = self.root()?;
        visit(b"", &root)?;
        let mut seen = BTreeSet::from([root.nid]);
        let mut entries = 0;
        let mut pending = vec![(Vec::new(), root)];
        while let Some((path, directory)) = pending.pop() {
            let first = pending.len();
            for entry in self.list(&directory)? {
                entries += 1;
                let below = if path.is_empty() {
                    entry.name
                } else {
                    [&path[..], &entry.name].join(&b'/')
                };
                if entries > max_entries {
                    return Err(Error::limit("entries", &below, entries, max_entries));
                }
                if below.len() > MAX_PATH_BYTES {
                    return Err(Error::limit(
                        "path bytes",
                        &below,
                        below.len() as u64,
                        MAX_PATH_BYTES as u64,
                    ));
                }
                let inode = self.inode(entry.nid)?;
                if entry.file_type != Some(inode.file_type) {
                    return Err(Error::image(format!(
                        "inode {} is not of the type that its name states",
                        inode.nid
                    )));
                }
                visit(&below, &inode)?;
                if inode.file_type == FileType::Directory {
                    if !seen.insert(inode.nid) {
                        return Err(Error::image(format!("directory {} has two names", inode.nid)));
                    }
                    pending.push((below, inode));
                }
            }
            pending[first..].reverse();
        }
        Ok(())
    }
}
