//! Where the compressed bytes of a layer come from, as the decoding thread sees it.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;
use imagecache_core::{Error, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::error::fail;

/// How much is read from a file at once: large enough that system calls do not matter, small enough to stay in cache.
const FILE_CHUNK_BYTES: usize = 256 * 1024;

/// What a download sends to the decoding thread.
pub(crate) enum Piece {
    /// Some bytes, and their share of the memory that the download may hold.
    Data(Bytes, OwnedSemaphorePermit),
    /// All bytes were sent.
    End,
    /// The download failed for good.
    Failed(Error),
}

/// Compressed bytes in order.
pub(crate) enum BlobReader {
    /// From a download task.
    Download {
        pieces: mpsc::Receiver<Piece>,
        held: Option<OwnedSemaphorePermit>,
    },
    /// From a part of a local file, of which `left` bytes are still to come.
    File { file: File, left: u64 },
}

impl BlobReader {
    /// A reader of what a download sends.
    pub(crate) fn download(pieces: mpsc::Receiver<Piece>) -> Self {
        Self::Download { pieces, held: None }
    }

    /// The next bytes, or `None` at the end. Blocks.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Download { pieces, held } => {
                // The previous piece is used up: give its share back before waiting.
                held.take();
                match pieces.blocking_recv() {
                    Some(Piece::Data(bytes, permit)) => {
                        *held = Some(permit);
                        Ok(Some(bytes))
                    }
                    Some(Piece::End) => Ok(None),
                    Some(Piece::Failed(error)) => Err(error),
                    None => Err(fail(ErrorKind::Unavailable, "layer", "download was cancelled")),
                }
            }
            Self::File { file, left } => {
                let want = usize::try_from(*left).map_or(FILE_CHUNK_BYTES, |left| left.min(FILE_CHUNK_BYTES));
                if want == 0 {
                    return Ok(None);
                }
                let mut buffer = vec![0; want];
                let count = file.read(&mut buffer).map_err(|error| {
                    fail(ErrorKind::Unavailable, "layer", "image file cannot be read").with_source(error)
                })?;
                buffer.truncate(count);
                *left -= count as u64;
                Ok((count > 0).then(|| buffer.into()))
            }
        }
    }
}
