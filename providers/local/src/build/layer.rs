//! One layer: found in the store, or fetched, checked and written in one pass.

use std::io::{self, Read};
use std::sync::Arc;

use imagecache_blocks::{Error as BlocksError, LayerRecord, Part, PartRecord, Store as _};
use imagecache_core::{Digest, ErrorKind, EventSeverity, LayerStage, chain};
use imagecache_erofs::{LayerOptions as ImageOptions, LayerSummary, Limits, write_layer};
use imagecache_oci::{LayerCounters, LayerOptions, LayerStream, ResolvedImage, error_from_io, is_wrong_digest};

use super::ahead::Ahead;
use super::resolve::Wanted;
use super::sink::{Budget, BudgetedSink, TooLarge};
use super::{BuildInput, layer_event};
use crate::failure::Stop;
use crate::tracker::Tracker;

/// Downloads of a layer whose bytes do not have their digest. The second may come from a healthier mirror.
const DIGEST_ATTEMPTS: u32 = 2;

/// The work for one layer. Blocks.
pub(super) struct LayerJob {
    pub(super) tracker: Arc<Tracker>,
    pub(super) input: Arc<BuildInput>,
    pub(super) budget: Arc<Budget>,
    pub(super) image: Arc<ResolvedImage>,
    pub(super) wanted: Wanted,
    /// Who sends finished layers, where they are sent.
    pub(super) ahead: Option<Arc<Ahead>>,
}

impl LayerJob {
    /// Makes sure that the layer is in the store.
    pub(super) fn run(self) -> Result<(), Stop> {
        let stage = match self.reuse()? {
            Some(stage) => stage,
            None => {
                let _lock = self
                    .tracker
                    .store
                    .lock_layer(&self.wanted.diff_id, &|| self.is_over())?;
                // Somebody else may have written it while we waited.
                match self.reuse()? {
                    Some(stage) => stage,
                    None => {
                        self.ahead.iter().for_each(|ahead| ahead.fetching());
                        self.fetch_verified()?
                    }
                }
            }
        };
        if let Some(ahead) = &self.ahead
            && let Some(record) = self.tracker.store.layer(&self.wanted.diff_id)?
        {
            ahead.finished(&self.wanted.diff_id, record.blocks);
        }
        self.tracker.layer_done(self.wanted.shown, stage);
        if let Some(reason) = layer_event(stage) {
            let message = format!("Layer {} was in the store already", self.wanted.diff_id);
            self.tracker.event(EventSeverity::Normal, reason, message);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.tracker.is_cancelled() || self.budget.is_stopped()
    }

    /// Takes the layer that the store has. A damaged one is as good as none and is written again.
    fn reuse(&self) -> Result<Option<LayerStage>, Stop> {
        if self.is_over() {
            return Err(Stop::Cancelled);
        }
        match self.tracker.store.layer(&self.wanted.diff_id) {
            Ok(Some(record)) => {
                self.budget
                    .take(record.blocks.bytes)
                    .map_err(|over| self.budget.too_large(over.needed))?;
                Ok(Some(LayerStage::Reused))
            }
            Ok(None) => Ok(None),
            Err(BlocksError::Damaged { path, reason }) => {
                tracing::warn!(path = %path.display(), reason, "a damaged layer is fetched again");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn fetch_verified(&self) -> Result<LayerStage, Stop> {
        let mut attempt = 1;
        loop {
            // What lied once may be a mirror: the second time only the registry itself is asked.
            let fetched = match attempt {
                1 => self.fetch(&self.image),
                _ => self.fetch(&self.image.without_mirrors()),
            };
            match fetched {
                Ok(()) => return Ok(LayerStage::Done),
                Err(Attempt::WrongDigest(message)) if attempt < DIGEST_ATTEMPTS => {
                    self.tracker.event(
                        EventSeverity::Warning,
                        "WrongDigest",
                        format!("{message}; trying once more"),
                    );
                    attempt += 1;
                }
                Err(Attempt::WrongDigest(message)) => return Err(Stop::failed(ErrorKind::Internal, message)),
                Err(Attempt::Ended(stop)) => return Err(stop),
            }
        }
    }

    fn fetch(&self, image: &ResolvedImage) -> Result<(), Attempt> {
        let part = Part::Layer(self.wanted.diff_id.clone());
        let counters = Arc::new(LayerCounters::default());
        self.tracker.watch(self.wanted.shown, Arc::clone(&counters));
        let limits = &self.input.limits;
        let bomb = self
            .wanted
            .size
            .saturating_mul(limits.bomb_ratio)
            .max(limits.bomb_floor.0);
        let options = LayerOptions {
            max_uncompressed: Some(bomb),
            counters: Some(counters),
        };
        let stream = self
            .input
            .session
            .open_layer(image, self.wanted.layer, options)
            .map_err(Stop::from)?;
        let mut stream = Interruptible { stream, job: self };
        let writer = self.tracker.store.part_writer(&part).map_err(Stop::from)?;
        let mut sink = BudgetedSink::new(writer, &self.budget);
        let options = ImageOptions {
            uuid: uuid_of(&self.wanted.diff_id),
            limits: Limits::default(),
        };
        let written = write_layer(&mut stream, &mut sink, &options);
        let taken = sink.taken();
        let summary = match written {
            Ok(summary) => summary,
            Err(error) => {
                self.budget.give_back(taken);
                return Err(match self.explain(&part, error) {
                    // A tar that makes no sense may just be the wrong bytes: their digest tells.
                    Err(not_a_layer) => stream
                        .stream
                        .finish()
                        .map_or_else(Attempt::of, |_tar_bytes| not_a_layer.into()),
                    Ok(attempt) => attempt,
                });
            }
        };
        // Nothing is published before the whole stream was found right.
        if let Err(error) = stream.stream.finish() {
            self.budget.give_back(taken);
            return Err(Attempt::of(error));
        }
        if self.is_over() {
            return Err(Stop::Cancelled.into());
        }
        let describe = |blocks| PartRecord::Layer(layer_record(&self.wanted.diff_id, blocks, summary));
        sink.into_inner().publish(describe).map_err(Stop::from)?;
        Ok(())
    }

    /// Whose fault it was that no image came out: the stream's, the disk's, or (`Err`) the layer's own.
    fn explain(&self, part: &Part, error: imagecache_erofs::Error) -> Result<Attempt, Stop> {
        use imagecache_erofs::Error as Erofs;
        let what = format!("layer {} of image {}", self.wanted.layer + 1, self.image.reference);
        Ok(match error {
            _ if self.is_over() => Stop::Cancelled.into(),
            Erofs::ReadInput(error) => match error_from_io(&error) {
                Some(error) => Attempt::of(error),
                None => Stop::stalled(ErrorKind::Unavailable, format!("{what} cannot be read: {error}")).into(),
            },
            Erofs::WriteImage(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLarge>()) {
                Some(over) => self.budget.too_large(over.needed).into(),
                None => {
                    let path = self.tracker.store.part_path(part);
                    Stop::from(BlocksError::io_needing("write", path, error, Some(self.wanted.size))).into()
                }
            },
            Erofs::Limit {
                what: "image bytes",
                needed,
                ..
            } => self.budget.too_large(needed).into(),
            other => {
                return Err(Stop::failed(
                    ErrorKind::Unsupported,
                    format!("{what}: {}", chain(&other)),
                ));
            }
        })
    }
}

/// How one attempt to fetch a layer ended.
enum Attempt {
    WrongDigest(String),
    Ended(Stop),
}

impl Attempt {
    fn of(error: imagecache_core::Error) -> Self {
        if is_wrong_digest(&error) {
            Self::WrongDigest(error.message().to_owned())
        } else {
            Self::Ended(error.into())
        }
    }
}

impl From<Stop> for Attempt {
    fn from(stop: Stop) -> Self {
        Self::Ended(stop)
    }
}

/// A layer stream that ends with an error once the build is over.
struct Interruptible<'a> {
    stream: LayerStream,
    job: &'a LayerJob,
}

impl Read for Interruptible<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.job.is_over() {
            return Err(io::Error::other("the build was cancelled"));
        }
        self.stream.read(out)
    }
}

fn layer_record(diff_id: &Digest, blocks: imagecache_blocks::Blocks, summary: LayerSummary) -> LayerRecord {
    LayerRecord {
        tar_bytes: summary.tar_bytes,
        implicit_directories: summary.implicit_directories,
        external_links: summary
            .external_links
            .into_iter()
            .map(|link| (link.path, link.target))
            .collect(),
        root_is_opaque: summary.root_is_opaque,
        ..LayerRecord::new(diff_id.clone(), blocks)
    }
}

/// Identity of a filesystem image: the beginning of the digest that names it.
pub(super) fn uuid_of(digest: &Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    for (index, byte) in uuid.iter_mut().enumerate() {
        let pair = digest.hex().get(index * 2..index * 2 + 2);
        *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    uuid
}
