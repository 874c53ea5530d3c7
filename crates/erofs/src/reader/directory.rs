//! Directories: listing them in order, and finding one name by bisection.

use super::{Image, Inode, ReadAt};
use crate::disk::{BLOCK, BLOCK_BYTES, DIRENT_BYTES, FileType, blocks_for, le16, le64};
use crate::error::{Error, Result};
use crate::tree::check_name;

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// File name.
    pub name: Vec<u8>,
    /// Its inode.
    pub nid: u64,
    /// Type byte as the directory states it, if it is one of the known ones.
    pub file_type: Option<FileType>,
}

impl<R: ReadAt> Image<R> {
    /// All names of a directory, ascending, without `.` and `..`.
    ///
    /// # Errors
    /// Fails when the inode is no directory, or its data is damaged: also when names are out of order, repeated or
    /// impossible, as a kernel would not find them.
    pub fn list(&self, directory: &Inode) -> Result<Vec<DirectoryEntry>> {
        let mut entries: Vec<DirectoryEntry> = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for index in 0..self.directory_blocks(directory)? {
            for entry in self.directory_block(directory, index)? {
                if entry.name <= last {
                    return Err(bad(directory, "names are not in ascending order"));
                }
                last.clone_from(&entry.name);
                if entry.name != b"." && entry.name != b".." {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// The inode that a directory holds under `name`.
    ///
    /// # Errors
    /// Fails when the directory is damaged or none.
    pub fn child(&self, directory: &Inode, name: &[u8]) -> Result<Option<u64>> {
        let (mut low, mut high) = (0, self.directory_blocks(directory)?);
        // The wanted block is the last one whose first name is not above `name`.
        while low < high {
            let middle = low + (high - low) / 2;
            let entries = self.directory_block(directory, middle)?;
            let first = entries.first().ok_or_else(|| bad(directory, "empty block"))?;
            if first.name.as_slice() > name {
                high = middle;
                continue;
            }
            if let Some(entry) = entries.iter().find(|entry| entry.name == name) {
                return Ok(Some(entry.nid));
            }
            low = middle + 1;
        }
        Ok(None)
    }

    fn directory_blocks(&self, directory: &Inode) -> Result<u64> {
        if directory.file_type != FileType::Directory {
            return Err(bad(directory, "not a directory"));
        }
        Ok(blocks_for(directory.size))
    }

    fn directory_block(&self, directory: &Inode, index: u64) -> Result<Vec<DirectoryEntry>> {
        let offset = index * BLOCK_BYTES;
        let bytes = usize::try_from(directory.size - offset).unwrap_or(BLOCK).min(BLOCK);
        let mut block = vec![0u8; bytes];
        self.read_exact(directory, &mut block, offset)?;
        parse(&block).map_err(|reason| bad(directory, reason))
    }
}

fn bad(directory: &Inode, reason: &str) -> Error {
    Error::image(format!("directory {}: {reason}", directory.nid))
}

/// Splits one directory block.
fn parse(block: &[u8]) -> Result<Vec<DirectoryEntry>, &'static str> {
    let table = usize::from(le16(block, 8));
    if table == 0 || table % DIRENT_BYTES != 0 || table > block.len() {
        return Err("its table of names is damaged");
    }
    let count = table / DIRENT_BYTES;
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let record = &block[index * DIRENT_BYTES..][..DIRENT_BYTES];
        let start = usize::from(le16(record, 8));
        let end = if index + 1 < count {
            usize::from(le16(block, (index + 1) * DIRENT_BYTES + 8))
        } else {
            block.len()
        };
        let name = block
            .get(start..end)
            .filter(|_| start >= table)
            .ok_or("a name lies outside its block")?;
        let name = match name.iter().position(|byte| *byte == 0) {
            Some(nul) if index + 1 == count => &name[..nul],
            _ => name,
        };
        if name != b"." && name != b".." && check_name(name).is_err() {
            return Err("a name is impossible");
        }
        let file_type = match record[10] {
            1 => Some(FileType::Regular),
            2 => Some(FileType::Directory),
            3 => Some(FileType::CharDevice),
            4 => Some(FileType::BlockDevice),
            5 => Some(FileType::Fifo),
            6 => Some(FileType::Socket),
            7 => Some(FileType::Symlink),
            _ => None,
        };
        entries.push(DirectoryEntry {
            name: name.to_vec(),
            nid: le64(record, 0),
            file_type,
        });
    }
    Ok(entries)
}
