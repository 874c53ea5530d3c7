//! Large sequential writes: everything an image writes goes through one buffer, upward.

use std::io::{Seek, SeekFrom, Write};

use crate::disk::{BLOCK, BLOCK_BYTES};
use crate::error::{Error, Result};

/// Bytes gathered before a write: two blocks of the block store, large enough that system calls do not count.
const BUFFER_BYTES: usize = 1 << 20;

/// A buffered, position-tracking sink.
pub(crate) struct Output<W> {
    inner: W,
    buffer: Vec<u8>,
    filled: usize,
    flushed: u64,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            flushed: 0,
        }
    }

    /// Bytes written so far, buffered ones included.
    pub(crate) fn position(&self) -> u64 {
        self.flushed + self.filled as u64
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.space()?;
            let (now, rest) = bytes.split_at(bytes.len().min(space.len()));
            space[..now.len()].copy_from_slice(now);
            self.advance(now.len());
            bytes = rest;
        }
        Ok(())
    }

    pub(crate) fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let space = self.space()?;
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(space.len());
            space[..now].fill(0);
            self.advance(now);
            count -= now as u64;
        }
        Ok(())
    }

    pub(crate) fn pad_to_block(&mut self) -> Result<()> {
        let over = self.position() % BLOCK_BYTES;
        if over == 0 {
            Ok(())
        } else {
            self.zeros(BLOCK_BYTES - over)
        }
    }

    /// Free room of the buffer, never empty: a reader may put bytes there and then call [`Output::advance`].
    pub(crate) fn space(&mut self) -> Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.drain()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    /// Takes over `bytes` that were put into [`Output::space`].
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.drain()?;
        self.inner.flush().map_err(Error::WriteImage)
    }

    fn drain(&mut self) -> Result<()> {
        self.inner
            .write_all(&self.buffer[..self.filled])
            .map_err(Error::WriteImage)?;
        self.flushed += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

impl<W: Write + Seek> Output<W> {
    /// Writes block 0 last: an image without superblock is no image, so a torn write is never taken for a whole one.
    pub(crate) fn finish(mut self, block: &[u8]) -> Result<()> {
        self.drain()?;
        let end = self.flushed;
        self.inner.seek(SeekFrom::Start(0)).map_err(Error::WriteImage)?;
        self.inner
            .write_all(&block[..BLOCK.min(block.len())])
            .map_err(Error::WriteImage)?;
        self.inner.seek(SeekFrom::Start(end)).map_err(Error::WriteImage)?;
        self.inner.flush().map_err(Error::WriteImage)
    }
}
