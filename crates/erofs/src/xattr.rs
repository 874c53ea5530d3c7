//! Xattrs as EROFS keeps them: right behind the inode, in one canonical order.

use crate::attributes::Xattr;
use crate::disk::{NAME_BYTES, XATTR_HEADER_BYTES, XATTR_VALUE_BYTES};
use crate::error::{Error, Result};

/// Name prefixes with their index on disk; longer ones first where one contains another.
pub(crate) const PREFIXES: &[(u8, &[u8])] = &[
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
];
/// Indexes whose prefix is the whole name.
const WHOLE_NAMES: &[u8] = &[2, 3];

/// Index and remaining name of an xattr, or `None` if the format has no place for it.
pub(crate) fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(index, prefix)| {
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() == WHOLE_NAMES.contains(&index)).then_some((index, rest))
    })
}

/// Checks one xattr against what Linux and the format can hold.
pub(crate) fn check(path: &[u8], xattr: &Xattr) -> Result<()> {
    let shown = String::from_utf8_lossy(&xattr.name);
    if split_name(&xattr.name).is_none() {
        return Err(Error::entry(
            path,
            format!("xattr {shown:?} is in no namespace that the filesystem has"),
        ));
    }
    if xattr.name.contains(&0) {
        return Err(Error::entry(path, format!("xattr name {shown:?} holds a NUL byte")));
    }
    if xattr.name.len() > NAME_BYTES {
        return Err(Error::limit(
            "xattr name bytes",
            path,
            xattr.name.len() as u64,
            NAME_BYTES as u64,
        ));
    }
    if xattr.value.len() > XATTR_VALUE_BYTES {
        return Err(Error::limit(
            "xattr value bytes",
            path,
            xattr.value.len() as u64,
            XATTR_VALUE_BYTES as u64,
        ));
    }
    Ok(())
}

/// Bytes that [`encode`] makes.
pub(crate) fn encoded_bytes(xattrs: &[Xattr]) -> usize {
    if xattrs.is_empty() {
        return 0;
    }
    xattrs.iter().fold(XATTR_HEADER_BYTES, |sum, xattr| {
        let name = split_name(&xattr.name).map_or(0, |(_, rest)| rest.len());
        sum + (4 + name + xattr.value.len()).next_multiple_of(4)
    })
}

/// The xattr body of an inode; empty for none. `xattrs` are sorted and checked.
pub(crate) fn encode(xattrs: &[Xattr]) -> Vec<u8> {
    let mut body = Vec::with_capacity(encoded_bytes(xattrs));
    if xattrs.is_empty() {
        return body;
    }
    body.resize(XATTR_HEADER_BYTES, 0);
    for xattr in xattrs {
        let Some((index, rest)) = split_name(&xattr.name) else {
            continue;
        };
        let name_bytes = u8::try_from(rest.len()).unwrap_or(u8::MAX);
        let value_bytes = u16::try_from(xattr.value.len()).unwrap_or(u16::MAX);
        body.push(name_bytes);
        body.push(index);
        body.extend_from_slice(&value_bytes.to_le_bytes());
        body.extend_from_slice(rest);
        body.extend_from_slice(&xattr.value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

/// The count that the inode stores for a body of `bytes`: 0, or 1 for the header plus one for each 4 bytes.
pub(crate) fn count_for(bytes: usize) -> Option<u16> {
    if bytes == 0 {
        return Some(0);
    }
    u16::try_from((bytes - XATTR_HEADER_BYTES) / 4 + 1).ok()
}
