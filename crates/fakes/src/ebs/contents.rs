//! What blocks hold, once per content, in a file without a name: snapshots of many GiB must not need as much memory.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::BLOCK_BYTES;
use crate::registry::lock;

/// SHA-256 of a block.
pub(crate) type Digest = [u8; 32];

/// All contents that were ever put.
#[derive(Debug)]
pub(crate) struct Contents {
    file: File,
    /// Which slot of the file has a content.
    slots: Mutex<HashMap<Digest, u64>>,
    next: AtomicU64,
    forgetful: AtomicBool,
}

impl Contents {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            slots: Mutex::default(),
            next: AtomicU64::default(),
            forgetful: AtomicBool::default(),
        })
    }

    /// From now on only checksums are kept; reading what was put later is an error.
    pub(crate) fn forget(&self) {
        self.forgetful.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keep(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        if self.forgetful.load(Ordering::Relaxed) || lock(&self.slots).contains_key(digest) {
            return Ok(());
        }
        // Two writers of one content waste a slot; a slot that is listed before it is written would be read empty.
        let slot = self.next.fetch_add(1, Ordering::Relaxed);
        self.file.write_all_at(bytes, slot * BLOCK_BYTES as u64)?;
        lock(&self.slots).insert(*digest, slot);
        Ok(())
    }

    pub(crate) fn read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let slot = lock(&self.slots).get(digest).copied();
        let slot = slot.ok_or_else(|| io::Error::other("the content of this block was not kept"))?;
        let mut bytes = vec![0; BLOCK_BYTES];
        self.file.read_exact_at(&mut bytes, slot * BLOCK_BYTES as u64)?;
        Ok(bytes)
    }
}
