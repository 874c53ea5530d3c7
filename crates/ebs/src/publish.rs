//! One snapshot from its start to `completed`, or from where an earlier process left it.

use std::sync::Arc;
use std::time::Duration;

use imagecache_blocks::{
    Error, FinishedVolume, Published, Result, SnapshotManifest, Store as _, UploadWatch, VolumeReader,
};
use imagecache_core::ErrorKind;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::calls::{COMPLETE, Calls, NewSnapshot, Target};
use crate::checksum::linear_checksum;
use crate::journal::{Header, Journal, Parent};
use crate::retry::fresh_until;
use crate::tags;
use crate::trouble::Action;
use crate::upload::{Stopped, send_blocks};
use crate::wanted::{device_bytes, wanted_blocks};

/// Snapshots that are started for one volume before giving up: EBS gives a snapshot up that is idle for three days.
const STARTS: usize = 3;
/// A lineage this long starts anew, since no snapshot of it is deleted while another one lies on top.
const MOST_GENERATIONS: u32 = 50;
/// First and longest pause between two looks at a snapshot that EBS completes.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// The same when the call was refused at once: only an answer that was lost before can have been a good one.
const SHORT_DOUBT: Duration = Duration::from_secs(3);
/// How long a snapshot may stay pending after it is not known whether the call to complete it arrived.
const DOUBT: Duration = Duration::from_secs(120);

pub(crate) struct Publication<'a> {
    pub(crate) calls: &'a Arc<Calls>,
    pub(crate) owner: &'a str,
    pub(crate) volume: &'a FinishedVolume<'a>,
    pub(crate) watch: &'a dyn UploadWatch,
}

/// How a snapshot that a journal names is found.
enum Found {
    Pending,
    Completed,
    Gone,
}

impl Publication<'_> {
    /// Goes on with the journal of this cache, or starts one.
    pub(crate) async fn run(&self) -> Result<Published> {
        if let Some(shared) = self.same_volume().await? {
            return Ok(shared);
        }
        let mut journal = self.earlier()?;
        for _ in 0..STARTS {
            if self.watch.is_cancelled() {
                return Err(self.cancelled());
            }
            let current = match journal.take() {
                Some(journal) => journal,
                None => self.begin(self.parent())?,
            };
            match self.carry_on(current).await {
                Ok(published) => return Ok(published),
                Err(Stopped::Gone) => {
                    tracing::warn!(cache = %self.volume.cache, "the EBS snapshot is gone, a new one is started")
                }
                Err(Stopped::Error(error)) => return Err(error),
            }
        }
        Err(Error::Service {
            kind: ErrorKind::Unavailable,
            message: format!(
                "EBS lost {STARTS} snapshots of cache {} one after the other while they were written",
                self.volume.cache
            ),
        })
    }

    /// The snapshot of another cache that holds the very same volume.
    async fn same_volume(&self) -> Result<Option<Published>> {
        let (store, manifest) = (self.volume.store, self.volume.manifest);
        for id in store.cache_ids()? {
            // A damaged record is not this cache's trouble.
            let Ok(Some(record)) = store.record(&id) else { continue };
            let same = record.is_ready() && id != *self.volume.cache && record.snapshot.as_ref() == Some(&manifest.id);
            let Some(published) = record.published.filter(|_| same) else {
                continue;
            };
            // Claimed before it is looked at, so that deleting the other cache does not take it away.
            let mut journal = self.begin(None)?;
            journal.started(&published.id)?;
            if matches!(
                self.find(&self.calls.target(&published.id, None)).await?,
                Found::Completed
            ) {
                return Ok(Some(published));
            }
        }
        Ok(None)
    }

    /// The journal of an earlier attempt, if it was for this volume on top of a parent that is still known.
    fn earlier(&self) -> Result<Option<Journal>> {
        let Some(journal) = Journal::open(self.journal_path()?)? else {
            return Ok(None);
        };
        let parent_is_known = match &journal.header.parent {
            Some(parent) => self.volume.store.snapshot(&parent.manifest)?.is_some(),
            None => true,
        };
        let usable = journal.header.manifest == self.volume.manifest.id && parent_is_known;
        // What is not gone on with is claimed by no journal any more, and is collected.
        Ok(usable.then_some(journal))
    }

    fn parent(&self) -> Option<Parent> {
        let (manifest, published) = self.volume.previous?;
        let parent = Parent {
            manifest: manifest.id.clone(),
            published: published.clone(),
        };
        (published.generation < MOST_GENERATIONS).then_some(parent)
    }

    /// Writes a journal down before anything is asked of EBS.
    fn begin(&self, parent: Option<Parent>) -> Result<Journal> {
        let manifest = self.volume.manifest;
        let bytes = device_bytes(
            manifest.volume_bytes,
            parent.as_ref().map(|parent| parent.published.volume_bytes),
        );
        let started_at = Timestamp::now();
        let token = self.token(parent.as_ref(), started_at);
        let header = Header::new(token, manifest.id.clone(), bytes, parent, started_at);
        Journal::create(self.journal_path()?, header)
    }

    /// Equal for equal attempts only. 64 characters, as many as EBS takes.
    fn token(&self, parent: Option<&Parent>, epoch: Timestamp) -> String {
        let mut hash = Sha256::new();
        let parent = parent.map_or("", |parent| parent.published.id.as_str());
        let epoch = epoch.as_nanosecond().to_string();
        for part in [
            self.owner,
            self.volume.cache.as_str(),
            self.volume.manifest.id.as_str(),
            parent,
            &epoch,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }

    fn journal_path(&self) -> Result<std::path::PathBuf> {
        Ok(Journal::path(&self.volume.store.uploads()?, self.volume.cache.as_str()))
    }

    async fn carry_on(&self, mut journal: Journal) -> Result<Published, Stopped> {
        let fresh = fresh_until(journal.header.started_at);
        let (id, known) = match journal.progress.snapshot.clone() {
            Some(id) => (id, true),
            None => (self.start(&mut journal).await?, false),
        };
        let target = self.calls.target(&id, Some(fresh));
        // A snapshot that was just started needs no look.
        match if known {
            self.find(&target).await?
        } else {
            Found::Pending
        } {
            Found::Gone => return Err(Stopped::Gone),
            Found::Completed => {}
            Found::Pending => {
                self.fill(target, &mut journal).await?;
                self.wait(&self.calls.target(&id, Some(fresh)), &journal).await?;
            }
        }
        let parent = journal.header.parent.as_ref();
        Ok(Published {
            id,
            volume_bytes: journal.header.device_bytes,
            parent: parent.map(|parent| parent.published.id.clone()),
            generation: parent.map_or(0, |parent| parent.published.generation + 1),
        })
    }

    /// Starts the snapshot of a journal; without its parent when EBS does not take that.
    async fn start(&self, journal: &mut Journal) -> Result<String> {
        let id = match self.start_once(&journal.header).await {
            Err(error) if journal.header.parent.is_some() && is_about_the_parent(&error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the snapshot is started without its parent"
                );
                *journal = self.begin(None)?;
                self.start_once(&journal.header).await?
            }
            // The token belongs to a snapshot that was asked for with other tags: the configuration changed.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                *journal = self.begin(journal.header.parent.clone())?;
                self.start_once(&journal.header).await?
            }
            other => other?,
        };
        journal.started(&id)?;
        Ok(id)
    }

    async fn start_once(&self, header: &Header) -> Result<String> {
        let parent = header.parent.as_ref().map(|parent| parent.published.id.as_str());
        let record = self.volume.store.record(self.volume.cache)?;
        let images = record.map(|record| record.spec.images).unwrap_or_default();
        let new = NewSnapshot {
            token: &header.token,
            device_bytes: header.device_bytes,
            parent,
            description: tags::description(self.volume.cache, &images),
            tags: tags::tags(self.owner, self.volume, &header.token, parent, &self.calls.config.tags),
        };
        self.calls.start(&new).await
    }

    async fn find(&self, target: &Target) -> Result<Found> {
        Ok(match self.calls.describe(target).await? {
            None => Found::Gone,
            Some(described) => match described.status.as_str() {
                "pending" => Found::Pending,
                "completed" => Found::Completed,
                other => {
                    tracing::warn!(
                        snapshot = target.id,
                        status = other,
                        message = described.message,
                        "EBS gave the snapshot up"
                    );
                    Found::Gone
                }
            },
        })
    }

    /// Sends what is missing and asks EBS to complete the snapshot.
    async fn fill(&self, target: Target, journal: &mut Journal) -> Result<(), Stopped> {
        let (store, manifest) = (self.volume.store, self.volume.manifest);
        let header = &journal.header;
        let parent = match &header.parent {
            None => None,
            Some(parent) => Some((self.parent_manifest(parent)?, parent.published.volume_bytes)),
        };
        let parent = parent.as_ref().map(|(manifest, bytes)| (manifest, *bytes));
        let wanted = wanted_blocks(manifest, header.device_bytes, parent);
        let id = target.id.clone();
        let reader = VolumeReader::open(store, manifest)?;
        if !journal.progress.completing {
            send_blocks(self.calls, target, reader, &wanted, journal, self.watch).await?;
        }
        let asked_before = journal.progress.completing;
        journal.completing()?;
        let target = self.calls.target(&id, Some(fresh_until(journal.header.started_at)));
        let checksum = linear_checksum(wanted.values());
        match self.calls.complete(&target, wanted.len(), &checksum).await {
            Ok(()) => Ok(()),
            Err(trouble) if trouble.is_gone() => Err(Stopped::Gone),
            // A lost answer may have been a good one: the second call is then refused, and the snapshot tells.
            Err(trouble) => {
                let unclear = asked_before || !matches!(trouble.action, Action::Fail(_));
                let refusal = trouble.into_error(COMPLETE, &id);
                self.doubt(&target, refusal, if unclear { DOUBT } else { SHORT_DOUBT })
                    .await?;
                Ok(())
            }
        }
    }

    fn parent_manifest(&self, parent: &Parent) -> Result<SnapshotManifest> {
        let missing = || Error::Missing {
            what: format!("snapshot {}", parent.manifest),
            store: self.volume.store.root().to_owned(),
        };
        self.volume.store.snapshot(&parent.manifest)?.ok_or_else(missing)
    }

    /// After CompleteSnapshot was refused: completed all the same within `patience`, or the refusal.
    async fn doubt(&self, target: &Target, refusal: Error, patience: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + patience;
        let mut pause = FIRST_LOOK;
        loop {
            match self.find(target).await? {
                Found::Completed => return Ok(()),
                Found::Gone => return Err(Stopped::Gone),
                Found::Pending if Instant::now() < until => self.pause(&mut pause).await?,
                Found::Pending => {
                    if patience == SHORT_DOUBT {
                        // It would be refused again, so the next attempt starts another one.
                        self.forget()?;
                    }
                    return Err(refusal.into());
                }
            }
        }
    }

    /// Removes the journal: what it claims is collected.
    fn forget(&self) -> Result<()> {
        crate::journal::remove(&self.volume.store.uploads()?, self.volume.cache.as_str())
    }

    /// Waits until EBS says `completed`.
    async fn wait(&self, target: &Target, journal: &Journal) -> Result<(), Stopped> {
        let mut pause = FIRST_LOOK;
        loop {
            let Some(described) = self.calls.describe(target).await? else {
                return Err(Stopped::Gone);
            };
            match described.status.as_str() {
                "completed" => return Ok(()),
                "pending" => self.pause(&mut pause).await?,
                status => {
                    // Nothing claims it any more, so it is collected.
                    self.forget()?;
                    let blocks = journal.progress.acknowledged.len();
                    let message = format!(
                        "EBS could not complete snapshot {} of {blocks} blocks, its status is {status}: {}; it is made anew when it is asked for again",
                        target.id, described.message
                    );
                    return Err(Error::Service {
                        kind: ErrorKind::Unavailable,
                        message,
                    }
                    .into());
                }
            }
        }
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled(format!("the snapshot of cache {}", self.volume.cache))
    }

    async fn pause(&self, pause: &mut Duration) -> Result<()> {
        if self.watch.is_cancelled() {
            return Err(self.cancelled());
        }
        sleep(*pause).await;
        *pause = pause.saturating_mul(2).min(LONGEST_LOOK);
        Ok(())
    }
}

/// A parent that was deleted, or that is not encrypted where the account wants encryption.
fn is_about_the_parent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidSpec | ErrorKind::NotFound)
}
