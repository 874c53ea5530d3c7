//! A small tar reader with bounds on everything: v7, ustar, GNU and PAX, every sparse form, binary xattrs.
//!
//! Choices follow Go's `archive/tar`, which containerd uses: global PAX headers are ignored, links and directories have
//! no data whatever their size says, both checksum sums are accepted, a missing end marker is accepted.

mod header;
mod pax;
mod reader;
mod sparse;

pub use header::EntryKind;
pub use reader::{Entry, TarReader};

/// Every record of a tar is a multiple of this.
pub(crate) const RECORD_BYTES: usize = 512;
