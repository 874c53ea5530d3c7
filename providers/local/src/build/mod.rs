//! One build, from references to a Ready record.

mod ahead;
mod layer;
mod patch;
mod publish;
mod resolve;
mod sink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imagecache_blocks::{
    CacheRecord, Durability, ImageRecord, LockGuard, Part, PartRecord, References, SnapshotManifest, Store as _,
    VolumeContent, VolumePart, write_snapshot,
};
use imagecache_core::{CachedImage, ErrorKind, EventSeverity, LayerStage, Phase, Platform, Progress};
use imagecache_oci::{ImageSource, Session};
use tokio::task::JoinSet;

use crate::config::LimitsConfig;
use crate::failure::Stop;
use crate::shelf::Shelf;
use crate::tracker::Tracker;
use ahead::{Ahead, Previous, Running};
use layer::LayerJob;
use resolve::Resolved;
use sink::Budget;

/// How often a build's progress is written down.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often a build looks whether another process stopped building the same cache.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// Progress once every layer is there, when nothing is sent anywhere.
const LAYERS_PERCENT: u8 = 95;
/// What layers and patches together have above layers alone.
const PATCHES_PERCENT: u8 = 2;
const GIB: u64 = 1 << 30;

/// What a build is given besides its record.
#[derive(Debug)]
pub(crate) struct BuildInput {
    pub(crate) session: Session,
    pub(crate) platform: Platform,
    pub(crate) sources: Vec<ImageSource>,
    pub(crate) limits: LimitsConfig,
    pub(crate) concurrency: usize,
    pub(crate) shelf: Arc<Shelf>,
}

/// Percent of a build that is done when all layers are there.
pub(crate) fn layers_percent(shelf: &Shelf) -> u8 {
    match shelf.is_elsewhere() {
        true => publish::LAYERS_PERCENT,
        false => LAYERS_PERCENT,
    }
}

/// Builds the cache and writes how it ended. Returns when nothing of the build runs any more.
pub(crate) async fn run(tracker: Arc<Tracker>, lock: Option<LockGuard>, input: BuildInput) {
    let shelf = Arc::clone(&input.shelf);
    let ended = match lock_cache(&tracker, lock).await {
        Err(stop) => conclude(&tracker, stop).await,
        // Held until the outcome is written: without it the build would look interrupted.
        Ok(_lock) => match build(&tracker, input).await {
            Ok(()) => Ended::Ready,
            Err(stop) => conclude(&tracker, stop).await,
        },
    };
    clean_up(&tracker, &shelf, ended).await;
    tracker.finish();
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Ready,
    /// Failed or stalled.
    Told,
    Cancelled,
}

/// Takes the cache's lock, which an earlier build of this cache may still hold while it ends.
async fn lock_cache(tracker: &Tracker, lock: Option<LockGuard>) -> Result<LockGuard, Stop> {
    if let Some(lock) = lock {
        return Ok(lock);
    }
    let id = tracker.record().state.id;
    loop {
        if let Some(lock) = tracker.store.try_lock_cache(&id)? {
            return Ok(lock);
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_INTERVAL) => {}
            () = tracker.cancelled() => return Err(Stop::Cancelled),
        }
    }
}

/// Removes what nothing needs any more after a build, without its lock: the journal of its upload is in use until then.
async fn clean_up(tracker: &Arc<Tracker>, shelf: &Arc<Shelf>, ended: Ended) {
    // However it ended, it may have started a snapshot that nobody goes on with.
    shelf.soil();
    let (store, shelf) = (tracker.store.clone(), Arc::clone(shelf));
    let cleaned = match ended {
        Ended::Ready if shelf.is_elsewhere() => {
            blocking(move || {
                shelf.collect_elsewhere(&store);
                Ok(())
            })
            .await
        }
        // A layer may have been finished after the cache was deleted.
        Ended::Cancelled => blocking(move || shelf.collect(&store).map_err(Stop::from)).await,
        // What keeps a build from its end would keep this too: later.
        Ended::Ready | Ended::Told => Ok(()),
    };
    if let Err(stop) = cleaned {
        tracing::warn!(?stop, "cannot clean up after a build");
    }
}

/// Writes down why the build ended.
async fn conclude(tracker: &Arc<Tracker>, stop: Stop) -> Ended {
    let Some(phase) = stop.phase() else {
        return Ended::Cancelled;
    };
    if let Some(failure) = phase.failure() {
        let id = tracker.record().state.id;
        tracing::warn!(%id, phase = phase.as_str(), kind = failure.kind.as_str(), message = failure.message, "build ended");
        tracker.event(EventSeverity::Warning, failure.kind.reason(), failure.message.clone());
    }
    tracker.edit(|record| {
        let failed_at = matches!(phase, Phase::Failed(_)).then_some(record.state.updated_at);
        record.state.expires_at = record.spec.retention.expires_at(record.state.created_at, failed_at);
        record.state.phase = phase;
        record.state.activity = None;
        record.state.layers.clear();
    });
    let writer = Arc::clone(tracker);
    match blocking(move || writer.persist(Durability::Durable)).await {
        Ok(()) | Err(Stop::Cancelled) => {}
        // On a full disk not even this fits. Other processes see an interrupted build.
        Err(Stop::Failed(failure) | Stop::Stalled(failure)) => {
            tracker.set_unsaved();
            tracing::error!(message = failure.message, "cannot write down how a build ended");
        }
    }
    Ended::Told
}

async fn build(tracker: &Arc<Tracker>, input: BuildInput) -> Result<(), Stop> {
    let resolved = tokio::select! {
        resolved = resolve::resolve_images(tracker, &input) => resolved?,
        () = tracker.cancelled() => return Err(Stop::Cancelled),
    };
    let size_gib = tracker.record().spec.size_gib;
    let budget = Arc::new(Budget::new(u64::from(size_gib) * GIB, resolved.compressed_bytes()));
    resolved.check(&input.limits, &budget)?;
    begin_creating(tracker, &resolved).await?;
    let input = Arc::new(input);
    let looking = Arc::clone(tracker);
    let previous = Arc::new(blocking(move || Ok(previous_snapshot(&looking))).await?);
    let ticker = tokio::spawn(write_progress(Arc::clone(tracker)));
    let upload = input
        .shelf
        .is_elsewhere()
        .then(|| Running::start(tracker, &input.shelf, &resolved, budget.limit(), &previous));
    let ahead = upload.as_ref().map(Running::ahead);
    let layers = fetch_layers(tracker, &input, &resolved, &budget, ahead).await;
    ticker.abort();
    // Nothing may write an older record after this.
    let _ = ticker.await;
    let laid_out = match layers {
        Ok(()) => {
            let (tracker, input, previous) = (Arc::clone(tracker), Arc::clone(&input), Arc::clone(&previous));
            blocking(move || lay_out(&tracker, &input.shelf, &resolved, &budget, &previous)).await
        }
        Err(stop) => Err(stop),
    };
    // Only one upload writes the journal.
    if let Some(upload) = upload {
        upload.stop().await;
    }
    let (manifest, content) = laid_out?;
    let finisher = Arc::clone(tracker);
    blocking(move || finish(&finisher, &input.shelf, &manifest, &content, &previous)).await
}

/// Writes down what will be used before looking what is there: from then on it is not collected.
async fn begin_creating(tracker: &Arc<Tracker>, resolved: &Resolved) -> Result<(), Stop> {
    let references = References::of(&resolved.records);
    tracker.edit(|record| {
        record.images.clone_from(&resolved.records);
        record.references = references;
        record.state.phase = Phase::Creating;
        record.state.layers = resolved.progress();
        record.state.resolved = resolved.records.iter().map(cached_image).collect();
    });
    let writer = Arc::clone(tracker);
    let blobs = resolved.blobs();
    blocking(move || {
        writer.persist(Durability::Durable)?;
        for (digest, bytes) in &blobs {
            writer.store.put_blob(digest, bytes)?;
        }
        Ok(())
    })
    .await
}

fn cached_image(record: &ImageRecord) -> CachedImage {
    CachedImage {
        reference: record.reference.clone(),
        manifest: record.manifest.clone(),
        index: record.index.clone(),
    }
}

/// Writes the record now and then, until it is stopped or the cache is gone.
async fn write_progress(tracker: Arc<Tracker>) {
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let writer = Arc::clone(&tracker);
        match blocking(move || writer.persist(Durability::Relaxed)).await {
            Ok(()) => {}
            // `persist` has told everybody.
            Err(Stop::Cancelled) => return,
            // The build itself meets the same trouble where it matters.
            Err(Stop::Failed(failure) | Stop::Stalled(failure)) => {
                tracing::debug!(message = failure.message, "cannot write down progress");
            }
        }
    }
}

/// Gets every layer into the store, several at once, large ones first so that none is left alone at the end.
async fn fetch_layers(
    tracker: &Arc<Tracker>,
    input: &Arc<BuildInput>,
    resolved: &Resolved,
    budget: &Arc<Budget>,
    ahead: Option<Arc<Ahead>>,
) -> Result<(), Stop> {
    let mut waiting = resolved.in_order().into_iter();
    let mut running: JoinSet<Result<(), Stop>> = JoinSet::new();
    let mut outcome = Ok(());
    loop {
        while outcome.is_ok() && running.len() < input.concurrency {
            let Some(wanted) = waiting.next() else { break };
            let Some(image) = resolved.images.get(wanted.image).cloned() else {
                continue;
            };
            let job = LayerJob {
                tracker: Arc::clone(tracker),
                input: Arc::clone(input),
                budget: Arc::clone(budget),
                image,
                wanted,
                ahead: ahead.clone(),
            };
            running.spawn_blocking(move || job.run());
        }
        let Some(ended) = running.join_next().await else { break };
        let ended =
            ended.unwrap_or_else(|error| Err(Stop::stalled(ErrorKind::Internal, format!("a task died: {error}"))));
        if let Err(stop) = ended
            && outcome.is_ok()
        {
            // The others end as soon as they look; the first reason is the one to tell.
            budget.stop();
            outcome = Err(stop);
        }
    }
    for image in &resolved.records {
        if outcome.is_ok() {
            let message = format!("Successfully pulled image {}", image.reference);
            tracker.event(EventSeverity::Normal, "Pulled", message);
        }
    }
    outcome
}

/// Patches and volume. Blocks.
fn lay_out(
    tracker: &Tracker,
    shelf: &Shelf,
    resolved: &Resolved,
    budget: &Budget,
    previous: &Previous,
) -> Result<(SnapshotManifest, VolumeContent), Stop> {
    let store = &tracker.store;
    // Layers in the order in which they were fetched, since that is how their places became known; then patches.
    let mut parts: Vec<VolumePart> = Vec::new();
    for wanted in resolved.in_order() {
        let layer = store.layer(&wanted.diff_id)?.ok_or_else(|| {
            let message = format!("layer {} vanished from the store", wanted.diff_id);
            Stop::stalled(ErrorKind::Internal, message)
        })?;
        parts.push(PartRecord::Layer(layer).into());
    }
    for image in &resolved.records {
        let patches = patch::write_patches(store, image, &|| tracker.is_cancelled())?;
        parts.extend(
            patches
                .into_iter()
                .flatten()
                .map(|patch| PartRecord::Patch(patch).into()),
        );
    }
    let parts_done = layers_percent(shelf) + PATCHES_PERCENT;
    tracker.edit(|record| record.state.progress = record.state.progress.max(Progress::from_percent(parts_done)));
    let content = VolumeContent {
        images: resolved.records.clone(),
        blobs: resolved.blobs(),
        parts,
        head: Some(ahead::head(resolved)),
    };
    let manifest = write_snapshot(store, &content, previous.as_ref().map(|(_, manifest)| manifest))?;
    if manifest.content_bytes() > budget.limit() {
        return Err(budget.too_large(manifest.content_bytes()));
    }
    // From here on the collector leaves it alone, however long the next steps take; then it is looked whether it is there.
    tracker.edit(|record| record.snapshot = Some(manifest.id.clone()));
    tracker.persist(Durability::Durable)?;
    confirm(tracker, &manifest, &content)?;
    Ok((manifest, content))
}

/// Snapshot, Ready. Blocks.
fn finish(
    tracker: &Tracker,
    shelf: &Shelf,
    manifest: &SnapshotManifest,
    content: &VolumeContent,
    previous: &Previous,
) -> Result<(), Stop> {
    let published = publish::publish(tracker, shelf, manifest, previous)?;
    let snapshot_id = published
        .as_ref()
        .map_or_else(|| manifest.id.to_string(), |published| published.id.clone());
    let used: std::collections::BTreeSet<Part> = content.parts.iter().map(|part| part.part.clone()).collect();
    tracker.edit(|record| {
        // Patches that turned out not to be needed are no longer kept from the collector.
        record.references.parts = used;
        record.published = published;
        record.state.snapshot_id = Some(snapshot_id);
        record.state.content_bytes = Some(manifest.content_bytes());
        record.state.phase = Phase::Ready;
        record.state.progress = Progress::DONE;
        record.state.activity = None;
        record.state.layers.clear();
    });
    let message = format!(
        "Created snapshot {} of {} MiB",
        manifest.id,
        manifest.content_bytes() >> 20
    );
    tracker.event(EventSeverity::Normal, "SnapshotCreated", message);
    tracker.persist(Durability::Durable)
}

/// The last look before Ready: the manifest as it can be read back lists exactly the blocks of the parts.
fn confirm(tracker: &Tracker, manifest: &SnapshotManifest, content: &VolumeContent) -> Result<(), Stop> {
    let wrong = |what: &str| {
        Err(Stop::stalled(
            ErrorKind::Internal,
            format!("snapshot {}: {what}", manifest.id),
        ))
    };
    if tracker.store.snapshot(&manifest.id)?.as_ref() != Some(manifest) {
        return wrong("its manifest reads back differently");
    }
    let records: BTreeMap<&Part, &PartRecord> = content.parts.iter().map(|part| (&part.part, &part.record)).collect();
    for (part, extent) in manifest.parts() {
        let first = usize::try_from(extent.first_block).unwrap_or(usize::MAX);
        let listed = manifest.blocks.get(first..).unwrap_or_default();
        match records.get(&part) {
            Some(record) if listed.starts_with(&record.blocks().digests) => {}
            _ => return wrong(&format!("it does not list the blocks of {part}")),
        }
    }
    Ok(())
}

/// The newest snapshot of the same owner under an older spec: its layers keep their place.
fn previous_snapshot(tracker: &Tracker) -> Previous {
    let mine = tracker.record();
    let owner = |record: &CacheRecord| {
        record
            .state
            .key
            .as_str()
            .rsplit_once('-')
            .map(|(owner, _)| owner.to_owned())
    };
    let mut candidates: Vec<CacheRecord> = tracker
        .store
        .cache_ids()
        .ok()?
        .iter()
        .filter(|id| **id != mine.state.id)
        .filter_map(|id| tracker.store.record(id).ok().flatten())
        .filter(|record| record.is_ready() && owner(record).is_some() && owner(record) == owner(&mine))
        .collect();
    candidates.sort_by_key(|record| record.state.created_at);
    // A snapshot that cannot be read only costs the shared places.
    candidates.into_iter().rev().find_map(|record| {
        let manifest = tracker.store.snapshot(record.snapshot.as_ref()?).ok().flatten()?;
        Some((record, manifest))
    })
}

/// Runs work that waits for disks or processors off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Stop> + Send + 'static,
) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Stop::stalled(ErrorKind::Internal, format!("a task died: {error}"))))
}

/// What a layer turned out to be, as an event says it.
fn layer_event(stage: LayerStage) -> Option<&'static str> {
    (stage == LayerStage::Reused).then_some("LayerReused")
}
