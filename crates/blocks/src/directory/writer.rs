//! Writing a part: bytes go to a temporary file and are hashed block by block on the way.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Advice;

use super::files::{create_directory, sync_directory};
use super::scratch::{Scratch, crash_point};
use super::{DirectoryStore, Durability};
use crate::block::{BLOCK, BLOCK_BYTES, BlockDigest, Blocks, is_zero};
use crate::error::{Error, IoContext as _, Result};
use crate::part::Part;
use crate::record::PartRecord;
use crate::store::PartSink;

/// Bytes after which the kernel is asked to start writing to disk, so that the final sync finds little left to do.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// A part that is being written.
///
/// The first block stays in memory until the end, because image writers put their superblock last. Blocks of zeros
/// become holes. Dropping it removes the temporary file.
#[derive(Debug)]
pub struct PartWriter {
    store: DirectoryStore,
    part: Part,
    file: Option<File>,
    temporary: PathBuf,
    _scratch: Arc<Scratch>,
    /// The first block, as far as it was written.
    head: Vec<u8>,
    /// The block that is being filled; block 0 is never here.
    block: Vec<u8>,
    /// Digests of blocks 1, 2, … that are complete.
    digests: Vec<BlockDigest>,
    position: u64,
    /// Bytes for which writing to disk was started.
    started: u64,
}

impl DirectoryStore {
    /// Starts writing a part.
    pub fn part_writer(&self, part: &Part) -> Result<PartWriter> {
        let scratch = self.scratch()?;
        let temporary = scratch.file();
        let file = File::create_new(&temporary).at("create", &temporary)?;
        Ok(PartWriter {
            store: self.clone(),
            part: part.clone(),
            file: Some(file),
            temporary,
            _scratch: scratch,
            head: Vec::new(),
            block: Vec::new(),
            digests: Vec::new(),
            position: 0,
            started: 0,
        })
    }
}

impl PartWriter {
    /// Makes the part durable and visible with the record that `record` makes of its length and digests.
    pub fn publish(mut self, record: impl FnOnce(Blocks) -> PartRecord) -> Result<PartRecord> {
        let blocks = self.finish()?;
        let record = record(blocks);
        let image = self.store.path(self.part.image_path());
        let json = record
            .to_json()
            .map_err(|error| Error::damaged(&image, error.to_string()))?;
        if let Some(shard) = image.parent() {
            crash_point("part synced");
            // The collector removes directories that it finds empty, maybe between the two steps: then again.
            loop {
                create_directory(shard)?;
                match fs::rename(&self.temporary, &image) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && self.temporary.exists() => {}
                    other => break other.at("publish", &image)?,
                }
            }
            crash_point("part renamed");
            sync_directory(shard)?;
        }
        crash_point("part durable");
        let written = self
            .store
            .write_file(&self.store.path(self.part.record_path()), &json, Durability::Durable);
        crash_point("record written");
        written.map(|()| record)
    }

    /// Bytes that the part has so far.
    pub fn bytes(&self) -> u64 {
        if self.digests.is_empty() && self.block.is_empty() {
            return self.head.len() as u64;
        }
        (self.digests.len() as u64 + 1) * BLOCK_BYTES + self.block.len() as u64
    }

    /// Writes what is still in memory and waits for the disk.
    fn finish(&mut self) -> Result<Blocks> {
        let bytes = self.bytes();
        self.close_block().map_err(|error| self.failure(error))?;
        let mut digests = Vec::with_capacity(self.digests.len() + 1);
        if bytes > 0 {
            digests.push(BlockDigest::of(&self.head));
        }
        digests.append(&mut self.digests);
        let file = self
            .file
            .take()
            .ok_or_else(|| io::Error::other("the part was finished before"));
        let synced = file.and_then(|file| {
            file.write_all_at(&self.head, 0)?;
            // The end may be a hole.
            file.set_len(bytes)?;
            // Its name is made durable with its directory; size and data are here.
            file.sync_data()
        });
        synced.map_err(|error| self.failure(error))?;
        Ok(Blocks { bytes, digests })
    }

    /// Hashes and writes the block that was filled, or the last one.
    fn close_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        let result = self.put_block(&block);
        self.block = block;
        self.block.clear();
        result
    }

    fn put_block(&mut self, bytes: &[u8]) -> io::Result<()> {
        let offset = (self.digests.len() as u64 + 1) * BLOCK_BYTES;
        if is_zero(bytes) {
            self.digests.push(BlockDigest::ZERO);
            return Ok(());
        }
        self.digests.push(BlockDigest::of(bytes));
        let file = self
            .file
            .as_ref()
            .ok_or_else(|| io::Error::other("the part was finished before"))?;
        file.write_all_at(bytes, offset)?;
        let end = offset + bytes.len() as u64;
        if let Some(length) =
            std::num::NonZero::new(end.saturating_sub(self.started)).filter(|n| n.get() >= WRITEBACK_BYTES)
        {
            // On dirty pages this starts writing and drops nothing. Only a hint: failing is fine.
            let _ = rustix::fs::fadvise(file, self.started, Some(length), Advice::DontNeed);
            self.started = end;
        }
        Ok(())
    }

    fn failure(&self, error: io::Error) -> Error {
        Error::io_needing(
            "write",
            self.store.path(self.part.image_path()),
            error,
            Some(self.bytes()),
        )
    }

    /// Writes into the first block; returns how much went there.
    fn write_head(&mut self, bytes: &[u8]) -> usize {
        let start = usize::try_from(self.position).unwrap_or(BLOCK);
        let count = bytes.len().min(BLOCK.saturating_sub(start));
        if self.head.len() < start + count {
            self.head.resize(start + count, 0);
        }
        if let (Some(target), Some(source)) = (self.head.get_mut(start..start + count), bytes.get(..count)) {
            target.copy_from_slice(source);
        }
        count
    }

    /// Fills up with zeros to where the next write goes.
    fn fill_to(&mut self, position: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.bytes() < position {
            let missing = usize::try_from(position - self.bytes())
                .unwrap_or(usize::MAX)
                .min(ZEROS.len());
            let end = self.bytes();
            let zeros = ZEROS.get(..missing).unwrap_or_default();
            self.append(end, zeros)?;
        }
        Ok(())
    }

    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        self.position = at;
        let count = if at < BLOCK_BYTES {
            self.write_head(bytes)
        } else if self.block.is_empty() && bytes.len() >= BLOCK {
            let block = bytes.get(..BLOCK).unwrap_or(bytes);
            self.put_block(block)?;
            BLOCK
        } else {
            if self.block.capacity() == 0 {
                self.block.reserve_exact(BLOCK);
            }
            let count = bytes.len().min(BLOCK - self.block.len());
            self.block.extend_from_slice(bytes.get(..count).unwrap_or_default());
            if self.block.len() == BLOCK {
                self.close_block()?;
            }
            count
        };
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = self.position;
        if at > self.bytes() {
            self.fill_to(at)?;
        }
        if at < self.bytes() && at >= BLOCK_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "only the first block can be written again",
            ));
        }
        self.append(at, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for PartWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.bytes().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position =
            target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position before the start"))?;
        Ok(self.position)
    }
}

impl PartSink for PartWriter {
    fn publish(self: Box<Self>, record: Box<dyn FnOnce(Blocks) -> PartRecord + '_>) -> Result<PartRecord> {
        PartWriter::publish(*self, record)
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        // After publishing the name is gone; otherwise nothing of an unfinished part stays.
        let _ = fs::remove_file(&self.temporary);
    }
}
