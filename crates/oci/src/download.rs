//! Downloading one blob into a channel: resumes after breaks, moves on to the next endpoint, bounds memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use imagecache_core::{Digest, Error, ErrorKind};
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::{Semaphore, mpsc};

use crate::blob_reader::Piece;
use crate::endpoint::Endpoint;
use crate::error::fail;
use crate::session::Shared;
use crate::transport::{Answer, Ask, Bounded, Trust};

/// Compressed bytes that a download may be ahead of its decoder: hides short stalls of either side.
const AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// Progress after which a download's attempts are counted anew.
const PROGRESS_BYTES: u64 = 1024 * 1024;
/// Slower than this on average, measured while waiting for the network, a connection counts as stalled.
const MIN_BYTES_PER_SECOND: f64 = 1024.0;

/// What to download.
pub(crate) struct Download {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Names image and layer in errors.
    pub(crate) what: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The sending end of a download.
struct Sink {
    pieces: mpsc::Sender<Piece>,
    room: Arc<Semaphore>,
}

/// Nobody wants the blob any more.
struct Unwanted;

/// Why one connection ended before the blob did.
enum Break {
    Unwanted,
    Failed(Error),
}

impl Download {
    /// Starts the download as a task; returns the receiving end.
    pub(crate) fn start(self, runtime: &tokio::runtime::Handle) -> (mpsc::Receiver<Piece>, tokio::task::AbortHandle) {
        // Bounded by bytes through `room`; the number only has to be larger than what fits.
        let (pieces, receiver) = mpsc::channel(AHEAD_BYTES);
        let sink = Sink {
            pieces,
            room: Arc::new(Semaphore::new(AHEAD_BYTES)),
        };
        let task = runtime.spawn(async move {
            let last = match self.run(&sink).await {
                Ok(()) => Piece::End,
                Err(Break::Failed(error)) => Piece::Failed(error),
                Err(Break::Unwanted) => return,
            };
            // A receiver that is gone needs no answer.
            let _ = sink.pieces.send(last).await;
        });
        (receiver, task.abort_handle())
    }

    async fn run(&self, sink: &Sink) -> Result<(), Break> {
        let mut offset = 0;
        let mut last = None;
        for endpoint in &self.endpoints {
            match self.fetch(endpoint, &mut offset, sink).await {
                Ok(()) => return Ok(()),
                Err(Break::Unwanted) => return Err(Break::Unwanted),
                Err(Break::Failed(error)) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "download continues elsewhere, if it can"
                    );
                    last = Some(error);
                }
            }
        }
        Err(Break::Failed(last.unwrap_or_else(|| {
            fail(
                ErrorKind::NotFound,
                "layer",
                format!("no registry is configured that may serve {}", self.what),
            )
        })))
    }

    async fn fetch(&self, endpoint: &Endpoint, offset: &mut u64, sink: &Sink) -> Result<(), Break> {
        let retry = &self.shared.retry;
        let client = self.shared.clients.get(&endpoint.tls).map_err(Break::Failed)?;
        let (mut attempt, mut counted_from) = (1, *offset);
        loop {
            let ask = Ask {
                client: &client,
                auth: &self.shared.auth,
                endpoint,
                method: reqwest::Method::GET,
                url: endpoint.url("blobs", &self.digest.to_string()),
                accept: None,
                from: *offset,
                trust: Trust::Digest,
                bounded: Bounded {
                    what: &self.what,
                    operation: "layer",
                    retry,
                },
            };
            let mut answer = ask.send().await.map_err(Break::Failed)?;
            let error = match self.receive(&mut answer, offset, sink).await {
                Ok(()) => return Ok(()),
                Err(Break::Unwanted) => return Err(Break::Unwanted),
                Err(Break::Failed(error)) if !error.kind().is_transient() => return Err(Break::Failed(error)),
                Err(Break::Failed(error)) => error,
            };
            drop(answer);
            if *offset >= counted_from + PROGRESS_BYTES {
                (attempt, counted_from) = (1, *offset);
            }
            if attempt >= retry.attempts {
                return Err(Break::Failed(error));
            }
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                attempt,
                offset,
                "download is resumed"
            );
            tokio::time::sleep(retry.delay(attempt, fastrand::f64())).await;
            attempt += 1;
        }
    }

    /// Passes on one answer's bytes.
    async fn receive(&self, answer: &mut Answer, offset: &mut u64, sink: &Sink) -> Result<(), Break> {
        let mut skip = self.bytes_to_skip(answer, *offset).map_err(Break::Failed)?;
        let mut pace = Pace::new(self.shared.retry.stall_timeout);
        while *offset < self.size {
            let since = Instant::now();
            let chunk = tokio::time::timeout(self.shared.retry.stall_timeout, answer.response.chunk()).await;
            let broke = |how: &str| {
                fail(
                    ErrorKind::Unavailable,
                    "layer",
                    format!("download of {} {how} after {offset} bytes", self.what),
                )
            };
            let mut chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Err(Break::Failed(broke("ended early"))),
                Ok(Err(error)) => return Err(Break::Failed(broke("broke").with_source(error.without_url()))),
                Err(_) => return Err(Break::Failed(broke("stalled"))),
            };
            if pace.is_too_slow(chunk.len(), since.elapsed()) {
                return Err(Break::Failed(broke("crawled")));
            }
            if skip > 0 {
                let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                drop(chunk.split_to(dropped));
                skip -= dropped as u64;
            }
            *offset += chunk.len() as u64;
            // More than the manifest says is passed on: the decoder refuses it with the right words.
            sink.send(chunk).await.map_err(|Unwanted| Break::Unwanted)?;
        }
        Ok(())
    }

    /// How many bytes of the answer come before the one that is wanted: some servers ignore ranges.
    fn bytes_to_skip(&self, answer: &Answer, offset: u64) -> Result<u64, Error> {
        if answer.response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(offset);
        }
        let range = answer
            .response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok());
        let start = range.and_then(range_start).unwrap_or(offset);
        offset.checked_sub(start).ok_or_else(|| {
            let message = format!(
                "registry answers byte {start} of {} when asked for byte {offset}",
                self.what
            );
            fail(ErrorKind::Unavailable, "layer", message)
        })
    }
}

/// First byte of a `Content-Range: bytes 5-9/10`.
fn range_start(header: &str) -> Option<u64> {
    header
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split('-')
        .next()?
        .trim()
        .parse()
        .ok()
}

impl Sink {
    async fn send(&self, chunk: bytes::Bytes) -> Result<(), Unwanted> {
        let mut rest = chunk;
        while !rest.is_empty() {
            // A piece larger than all room would wait for ever.
            let piece = rest.split_to(rest.len().min(AHEAD_BYTES / 2));
            let permits = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.room)
                .acquire_many_owned(permits)
                .await
                .map_err(|_| Unwanted)?;
            self.pieces
                .send(Piece::Data(piece, permit))
                .await
                .map_err(|_| Unwanted)?;
        }
        Ok(())
    }
}

/// Notices connections that are neither dead nor alive.
struct Pace {
    window: Duration,
    waited: Duration,
    bytes: usize,
}

impl Pace {
    fn new(stall_timeout: Duration) -> Self {
        Self {
            window: stall_timeout.saturating_mul(2),
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    fn is_too_slow(&mut self, bytes: usize, waited: Duration) -> bool {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.window {
            return false;
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no more precision")]
        let slow = (self.bytes as f64) < MIN_BYTES_PER_SECOND * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_ranges() {
        for (header, expected) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 0-0/*", Some(0)),
            ("bytes */10", None),
            ("", None),
            ("items 1-2", None),
        ] {
            assert_eq!(range_start(header), expected, "{header}");
        }
    }

    #[test]
    fn crawling_is_noticed_only_over_a_whole_window() {
        let mut pace = Pace::new(Duration::from_secs(5));
        assert!(!pace.is_too_slow(1, Duration::from_secs(4)));
        assert!(pace.is_too_slow(1, Duration::from_secs(6)));
        assert!(!pace.is_too_slow(1 << 20, Duration::from_secs(11)));
    }
}
