//! Keeps a build within the size that its cache may have.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use imagecache_core::ErrorKind;

use crate::failure::Stop;

const GIB: f64 = (1_u64 << 30) as f64;

/// Bytes that all layers of a cache may take together, and whether the build goes on at all.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    /// Bytes that are known to be needed: finished, reused and half-written layers.
    used: AtomicU64,
    /// Compressed bytes that the registry promised, a lower bound for the message.
    compressed: u64,
    stopped: AtomicBool,
}

/// Marks the `io::Error` of a write that would pass the budget.
#[derive(Debug, thiserror::Error)]
#[error("the images do not fit into the cache")]
pub(super) struct TooLarge {
    /// Bytes needed at least.
    pub(super) needed: u64,
}

impl Budget {
    pub(super) fn new(limit: u64, compressed: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            compressed,
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes `bytes`.
    pub(super) fn take(&self, bytes: u64) -> Result<(), TooLarge> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > self.limit {
            Err(TooLarge {
                needed: used.max(self.compressed),
            })
        } else {
            Ok(())
        }
    }

    /// Gives back what a failed attempt took.
    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Ends the work of all layers.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The failure of a cache that needs `needed` bytes.
    pub(super) fn too_large(&self, needed: u64) -> Stop {
        // Rounded up, so that the number said is never one that would not do.
        let gib = (needed as f64 / GIB * 10.0).ceil() / 10.0;
        let limit = self.limit >> 30;
        let message =
            format!("the images need at least {gib:.1} GiB, imageCacheSize is {limit} GiB: ask for a larger one");
        Stop::failed(ErrorKind::InvalidSpec, message)
    }
}

/// A sink that takes what it is given from a [`Budget`].
#[derive(Debug)]
pub(super) struct BudgetedSink<'a, W> {
    inner: W,
    budget: &'a Budget,
    position: u64,
    taken: u64,
}

impl<'a, W> BudgetedSink<'a, W> {
    pub(super) fn new(inner: W, budget: &'a Budget) -> Self {
        Self {
            inner,
            budget,
            position: 0,
            taken: 0,
        }
    }

    /// Bytes taken from the budget.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for BudgetedSink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.position.saturating_add(bytes.len() as u64);
        let growth = end.saturating_sub(self.taken);
        self.taken += growth;
        self.budget.take(growth).map_err(io::Error::other)?;
        let count = self.inner.write(bytes)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Seek> Seek for BudgetedSink<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}
