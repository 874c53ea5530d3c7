//! Xattrs of an inode: the inline ones, and shared ones as other writers make them.

use super::{Image, Inode, ReadAt};
use crate::attributes::{Attributes, Xattr};
use crate::disk::{XATTR_HEADER_BYTES, le16, le32};
use crate::error::{Error, Result};
use crate::xattr::PREFIXES;

/// Bytes in front of an entry's name.
const ENTRY_BYTES: usize = 4;

impl<R: ReadAt> Image<R> {
    /// All xattrs of an inode, sorted by name.
    ///
    /// # Errors
    /// Fails when they are damaged or cannot be read.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        let bad = |reason: &str| Error::image(format!("inode {}: {reason}", inode.nid));
        if inode.xattr_bytes == 0 {
            return Ok(Vec::new());
        }
        let mut body = vec![0u8; inode.xattr_bytes];
        self.source
            .read_exact_at(&mut body, inode.xattr_position)
            .map_err(Error::ReadImage)?;
        let shared = usize::from(body[4]);
        let inline = XATTR_HEADER_BYTES + 4 * shared;
        let ids = body
            .get(XATTR_HEADER_BYTES..inline)
            .ok_or_else(|| bad("its shared xattrs are cut off"))?;
        let mut found = Vec::new();
        for id in ids.chunks_exact(4) {
            let position = self.xattr_start + 4 * u64::from(le32(id, 0));
            let mut head = [0u8; ENTRY_BYTES];
            self.source
                .read_exact_at(&mut head, position)
                .map_err(Error::ReadImage)?;
            let bytes = ENTRY_BYTES + usize::from(head[0]) + usize::from(le16(&head, 2));
            let mut entry = vec![0u8; bytes];
            self.source
                .read_exact_at(&mut entry, position)
                .map_err(Error::ReadImage)?;
            found.push(parse(&entry).ok_or_else(|| bad("a shared xattr is damaged"))?.0);
        }
        let mut rest = &body[inline..];
        while rest.len() >= ENTRY_BYTES {
            let (xattr, used) = parse(rest).ok_or_else(|| bad("an xattr is damaged"))?;
            found.push(xattr);
            rest = rest.get(used.next_multiple_of(4)..).unwrap_or_default();
        }
        found.sort();
        Ok(found)
    }

    /// Everything about an inode that the writers take.
    ///
    /// # Errors
    /// Fails when its xattrs do.
    pub fn attributes(&self, inode: &Inode) -> Result<Attributes> {
        Ok(Attributes {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime_seconds: inode.mtime_seconds,
            mtime_nanoseconds: inode.mtime_nanoseconds,
            xattrs: self.xattrs(inode)?,
        })
    }
}

/// The first entry of `bytes` and how long it is.
fn parse(bytes: &[u8]) -> Option<(Xattr, usize)> {
    let name_end = ENTRY_BYTES + usize::from(*bytes.first()?);
    let end = name_end + usize::from(le16(bytes, 2));
    let index = *bytes.get(1)?;
    let prefix = PREFIXES.iter().find(|(known, _)| *known == index)?.1;
    let name = [prefix, bytes.get(ENTRY_BYTES..name_end)?].concat();
    Some((
        Xattr {
            name,
            value: bytes.get(name_end..end)?.to_vec(),
        },
        end,
    ))
}
