//! A layer as a blocking reader of verified tar bytes: download, decompression and checks run beside the reader.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use imagecache_core::{Digest, Error, ErrorKind};
use tokio::task::AbortHandle;

use crate::blob_reader::BlobReader;
use crate::decode::{Compression, DecodeError, Decoder, SNIFF_BYTES};
use crate::error::{fail, wrong_digest};
use crate::hash::Hasher;

/// Size of one buffer of tar bytes: few hand-overs, and still fits the second-level cache.
const BUFFER_BYTES: usize = 512 * 1024;
/// Buffers in flight between decoder and reader: 2 MiB a layer.
const BUFFERS: usize = 4;

/// How far a layer has come. Shared with whoever shows progress; both numbers only grow.
#[derive(Debug, Default)]
pub struct LayerCounters {
    compressed: AtomicU64,
    uncompressed: AtomicU64,
}

impl LayerCounters {
    /// Bytes of the compressed blob that were decoded.
    pub fn compressed(&self) -> u64 {
        self.compressed.load(Ordering::Relaxed)
    }

    /// Tar bytes that were decoded.
    pub fn uncompressed(&self) -> u64 {
        self.uncompressed.load(Ordering::Relaxed)
    }
}

/// How to read a layer.
#[derive(Clone, Debug, Default)]
pub struct LayerOptions {
    /// Most tar bytes to give out; more is the error `QuotaExceeded`. No limit by default.
    pub max_uncompressed: Option<u64>,
    /// Where to count; a new pair of counters by default.
    pub counters: Option<Arc<LayerCounters>>,
}

/// What a layer must turn out to be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Names image and layer in errors.
    pub(crate) what: String,
    /// Digest of the blob; `None` when there is no blob apart from the tar itself.
    pub(crate) blob: Option<Digest>,
    /// Length of the blob.
    pub(crate) size: u64,
    /// Digest of the tar.
    pub(crate) diff_id: Digest,
}

/// The tar bytes of one layer.
///
/// `Read` and `BufRead` report the end only after blob digest, blob size and diffID were all found right; anything else
/// is an `io::Error` that [`error_from_io`](crate::error_from_io) turns back into our error. A reader that knows the
/// end of the tar before the end of the stream must call [`finish`](Self::finish) before it trusts what it read.
/// The same holds for a reader that finds the tar malformed: wrong bytes from a registry look like a bad layer until
/// `finish` says which it was. Reading blocks: use it on a blocking thread. Dropping it stops the download.
pub struct LayerStream {
    filled: Receiver<Result<Filled, Error>>,
    emptied: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    hasher: Option<Hasher>,
    expected: Expected,
    state: State,
    counters: Arc<LayerCounters>,
    download: Option<AbortHandle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Verified,
    Failed,
}

/// A buffer of tar bytes, or the end of a blob that was right.
enum Filled {
    Data(Vec<u8>, usize),
    End,
}

impl std::fmt::Debug for LayerStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerStream")
            .field("what", &self.expected.what)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl LayerStream {
    /// Starts decoding `blob` on a thread of its own.
    pub(crate) fn start(
        blob: BlobReader,
        expected: Expected,
        options: LayerOptions,
        download: Option<AbortHandle>,
    ) -> Result<Self, Error> {
        let (filled_tx, filled) = sync_channel(BUFFERS);
        let (emptied, emptied_rx) = sync_channel(BUFFERS);
        let counters = options.counters.unwrap_or_default();
        let decoding = Decoding {
            hasher: expected.blob.as_ref().map(Hasher::like),
            read: 0,
            blob,
            expected: expected.clone(),
            max_uncompressed: options.max_uncompressed,
            counters: Arc::clone(&counters),
            filled: filled_tx,
            emptied: emptied_rx,
        };
        std::thread::Builder::new()
            .name("layer-decode".to_owned())
            .spawn(move || decoding.run())
            .map_err(|error| fail(ErrorKind::Unavailable, "layer", "no thread to decode with").with_source(error))?;
        let hasher = Some(Hasher::like(&expected.diff_id));
        Ok(Self {
            filled,
            emptied,
            buffer: Vec::new(),
            from: 0,
            to: 0,
            hasher,
            expected,
            state: State::Open,
            counters,
            download,
        })
    }

    /// How far decoding has come.
    pub fn counters(&self) -> Arc<LayerCounters> {
        Arc::clone(&self.counters)
    }

    /// Reads what is left and checks everything; returns how many tar bytes the layer has.
    pub fn finish(mut self) -> Result<u64, Error> {
        loop {
            self.from = self.to;
            if !self.refill()? {
                return Ok(self.counters.uncompressed());
            }
        }
    }

    /// Gets the next buffer; `false` is the verified end.
    fn refill(&mut self) -> Result<bool, Error> {
        match self.state {
            State::Open => {}
            State::Verified => return Ok(false),
            State::Failed => {
                let message = format!("{} was not read to its end", self.expected.what);
                return Err(fail(ErrorKind::Internal, "layer", message));
            }
        }
        // Anything that returns early below leaves the stream failed.
        self.state = State::Failed;
        let used = std::mem::take(&mut self.buffer);
        (self.from, self.to) = (0, 0);
        if !used.is_empty() {
            // A full or closed channel only means that the decoder needs no more buffers.
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.emptied.try_send(used) {}
        }
        let filled = self.filled.recv().unwrap_or_else(|_| {
            Err(fail(
                ErrorKind::Internal,
                "layer",
                format!("decoding of {} stopped unexpectedly", self.expected.what),
            ))
        })?;
        match filled {
            Filled::Data(buffer, length) => {
                if let (Some(hasher), Some(bytes)) = (&mut self.hasher, buffer.get(..length)) {
                    hasher.update(bytes);
                }
                (self.buffer, self.to) = (buffer, length);
                self.state = State::Open;
                Ok(true)
            }
            Filled::End => {
                if let Some(hasher) = self.hasher.take() {
                    let found = hasher.finish()?;
                    if found != self.expected.diff_id {
                        let what = format!("uncompressed {}", self.expected.what);
                        return Err(wrong_digest("layer", &what, &self.expected.diff_id, &found));
                    }
                }
                self.state = State::Verified;
                Ok(false)
            }
        }
    }
}

impl BufRead for LayerStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.from == self.to {
            if !self.refill().map_err(io::Error::other)? {
                return Ok(&[]);
            }
        }
        Ok(self.buffer.get(self.from..self.to).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
    }
}

impl Read for LayerStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let mut available = self.fill_buf()?;
        let count = available.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl Drop for LayerStream {
    fn drop(&mut self) {
        // The decoder may be waiting for the network: ending the download wakes it.
        if let Some(download) = &self.download {
            download.abort();
        }
    }
}

/// The decoding thread's part.
struct Decoding {
    blob: BlobReader,
    hasher: Option<Hasher>,
    /// Compressed bytes read so far.
    read: u64,
    expected: Expected,
    max_uncompressed: Option<u64>,
    counters: Arc<LayerCounters>,
    filled: SyncSender<Result<Filled, Error>>,
    emptied: Receiver<Vec<u8>>,
}

/// Why decoding stops before the end.
enum Stop {
    /// Nobody reads any more.
    Unread,
    /// The compressed data makes no sense.
    Damaged(DecodeError),
    Failed(Error),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Decoding {
    fn run(mut self) {
        let last = match self.decode() {
            Ok(()) => Ok(Filled::End),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Damaged(error)) => Err(self.explain(error)),
            Err(Stop::Unread) => return,
        };
        // A reader that is gone needs no answer.
        let _ = self.filled.send(last);
    }

    fn decode(&mut self) -> Result<(), Stop> {
        let mut head = Vec::new();
        let mut decoder = None;
        let mut out = Output {
            buffer: self.buffer(),
            length: 0,
            total: 0,
        };
        while let Some(piece) = self.next_piece()? {
            match &mut decoder {
                Some(decoder) => self.push(decoder, &piece, &mut out)?,
                None => {
                    head.extend_from_slice(&piece);
                    if head.len() >= SNIFF_BYTES {
                        let decoder = decoder.insert(Decoder::new(Compression::sniff(&head))?);
                        self.push(decoder, &std::mem::take(&mut head), &mut out)?;
                    }
                }
            }
        }
        let mut decoder = match decoder {
            Some(decoder) => decoder,
            None => Decoder::new(Compression::sniff(&head))?,
        };
        self.push(&mut decoder, &head, &mut out)?;
        // The blob's digest first: wrong bytes explain every other failure.
        self.check_blob()?;
        decoder.finish()?;
        self.send(&mut out)
    }

    /// The next compressed bytes, counted and hashed.
    fn next_piece(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        let piece = self.blob.next()?;
        if let Some(piece) = &piece {
            self.read += piece.len() as u64;
            if self.read > self.expected.size {
                return Err(self.wrong_size("more than"));
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(piece);
            }
            self.counters.compressed.store(self.read, Ordering::Relaxed);
        }
        Ok(piece)
    }

    /// Checks size and digest of the whole blob.
    fn check_blob(&mut self) -> Result<(), Error> {
        if self.read != self.expected.size {
            return Err(self.wrong_size("less than"));
        }
        if let (Some(hasher), Some(expected)) = (self.hasher.take(), &self.expected.blob) {
            let found = hasher.finish()?;
            if found != *expected {
                return Err(wrong_digest("layer", &self.expected.what, expected, &found));
            }
        }
        Ok(())
    }

    /// Why decompression failed: reads the rest of the blob to tell wrong bytes from a badly made layer.
    fn explain(&mut self, error: DecodeError) -> Error {
        loop {
            match self.next_piece() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return error,
            }
        }
        let damaged = format!("{} cannot be decompressed", self.expected.what);
        self.check_blob()
            .err()
            .unwrap_or_else(|| fail(ErrorKind::Internal, "layer", damaged).with_source(error))
    }

    fn push(&mut self, decoder: &mut Decoder, mut input: &[u8], out: &mut Output) -> Result<(), Stop> {
        loop {
            let room = out.buffer.get_mut(out.length..).unwrap_or_default();
            let (consumed, produced) = decoder.decode(input, room)?;
            input = input.get(consumed..).unwrap_or_default();
            out.length += produced;
            out.total += produced as u64;
            if self.max_uncompressed.is_some_and(|max| out.total > max) {
                let max = self.max_uncompressed.unwrap_or_default();
                let message = format!("{} is larger than {max} bytes when uncompressed", self.expected.what);
                return Err(fail(ErrorKind::QuotaExceeded, "layer", message).into());
            }
            if out.length == out.buffer.len() {
                self.send(out)?;
            } else if consumed == 0 && produced == 0 {
                return Ok(());
            }
        }
    }

    /// Hands a buffer over and takes another one.
    fn send(&mut self, out: &mut Output) -> Result<(), Stop> {
        self.counters.uncompressed.store(out.total, Ordering::Relaxed);
        if out.length == 0 {
            return Ok(());
        }
        let full = std::mem::take(&mut out.buffer);
        self.filled
            .send(Ok(Filled::Data(full, out.length)))
            .map_err(|_| Stop::Unread)?;
        out.buffer = self.buffer();
        out.length = 0;
        Ok(())
    }

    fn buffer(&self) -> Vec<u8> {
        self.emptied.try_recv().unwrap_or_else(|_| vec![0; BUFFER_BYTES])
    }

    fn wrong_size(&self, relation: &str) -> Error {
        let message = format!(
            "{} has {relation} the {} bytes that its manifest says",
            self.expected.what, self.expected.size
        );
        fail(ErrorKind::Internal, "layer", message)
    }
}

/// The buffer being filled.
struct Output {
    buffer: Vec<u8>,
    length: usize,
    total: u64,
}
