//! One snapshot from its start to `completed`, or from where an earlier process left it.

use std::sync::Arc;
use std::time::Duration;

use imagecache_blocks::{BlockDigest, DirectoryStore, Error, Published, Result, SnapshotManifest, VolumeReader};
use imagecache_core::ErrorKind;
use tokio::time::{Instant, sleep};

use crate::calls::{COMPLETE, Target};
use crate::checksum::linear_checksum;
use crate::journal::Journal;
use crate::session::{Found, Session};
use crate::trouble::{Action, Trouble};
use crate::upload::{Block, Meter, Next, Stopped, send_blocks};
use crate::wanted::{device_bytes, wanted_blocks};

/// Snapshots that are started for one volume before giving up: EBS gives a snapshot up that is idle for three days.
const STARTS: usize = 3;
/// First and longest pause between two looks at a snapshot that EBS completes.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// How long a snapshot may stay pending after it is not known whether the call to complete it arrived.
const DOUBT: Duration = Duration::from_secs(120);

/// A volume that is all there.
pub(crate) struct Publication<'a> {
    pub(crate) session: Session<'a>,
    pub(crate) manifest: &'a SnapshotManifest,
}

impl Publication<'_> {
    /// Goes on with the journal of this cache, or starts one.
    pub(crate) async fn run(&self) -> Result<Published> {
        let mut journal = self.session.earlier()?;
        if let Some(shared) = self.same_volume(&mut journal).await? {
            return Ok(shared);
        }
        // What is not gone on with is claimed by no journal any more, and is collected.
        let mut journal = match journal {
            Some(journal) if self.is_usable(&journal)? => Some(journal),
            _ => None,
        };
        let mut lost = String::new();
        for _ in 0..STARTS {
            if self.session.watch.is_cancelled() {
                return Err(self.session.cancelled());
            }
            let current = match journal.take() {
                Some(journal) => journal,
                None => self.begin().await?,
            };
            match self.carry_on(current).await {
                Ok(published) => return Ok(published),
                Err(Stopped::Gone(why)) => {
                    tracing::warn!(cache = %self.session.purpose.cache, why, "a new EBS snapshot is started");
                    lost = why;
                }
                Err(Stopped::Refused(error) | Stopped::Error(error)) => return Err(error),
            }
        }
        Err(Error::Service {
            kind: ErrorKind::Unavailable,
            message: format!("{STARTS} EBS snapshots were started in vain, the last because {lost}"),
        })
    }

    async fn begin(&self) -> Result<Journal> {
        let parent = self.session.parent().await?;
        self.session.begin(parent, self.manifest.volume_bytes)
    }

    /// Whether an upload can become this volume. Of one that began before all parts were there only the size must fit:
    /// blocks that differ are sent again.
    fn is_usable(&self, journal: &Journal) -> Result<bool> {
        let (header, progress) = (&journal.header, journal.progress());
        let below = header.parent.as_ref().map(|parent| parent.published.volume_bytes);
        let same = match &header.manifest {
            Some(manifest) => *manifest == self.manifest.id,
            None => header.index == self.manifest.index,
        };
        Ok(same
            && progress.completing.is_none_or(|manifest| manifest == self.manifest.id)
            && header.device_bytes >= device_bytes(self.manifest.volume_bytes, below)
            && self.session.knows_parent(journal)?)
    }

    /// The snapshot of another cache that holds the very same volume.
    async fn same_volume(&self, journal: &mut Option<Journal>) -> Result<Option<Published>> {
        let store = self.session.store;
        for id in store.cache_ids()? {
            if id == *self.session.purpose.cache {
                continue;
            }
            let Some(published) = published_as(store, &id, self.manifest) else {
                continue;
            };
            let target = self.session.calls.target(&published.id, None);
            if !matches!(self.session.find(&target).await?, Found::Completed) {
                continue;
            }
            // What this cache has sent itself stays claimed until the other snapshot is certain.
            let claiming = match journal {
                Some(journal) => journal,
                None => journal.insert(self.begin().await?),
            };
            claiming.share(Some(&published.id))?;
            // Whoever deletes the other cache either sees the claim, or has removed its record by now.
            if published_as(store, &id, self.manifest).as_ref() == Some(&published) {
                return Ok(Some(published));
            }
        }
        if let Some(journal) = journal
            && journal.progress().shared.is_some()
        {
            journal.share(None)?;
        }
        Ok(None)
    }

    async fn carry_on(&self, mut journal: Journal) -> Result<Published, Stopped> {
        let known = journal.progress().snapshot.is_some();
        if !known {
            self.session.start(&mut journal).await?;
        }
        let Some(started) = journal.progress().snapshot else {
            return Err(Stopped::Gone("its id is not known".to_owned()));
        };
        let target = self.session.target(&started);
        // A snapshot that was just started needs no look.
        let found = match known {
            true => self.session.find(&target).await?,
            false => Found::Pending,
        };
        match found {
            Found::Completed if journal.progress().completing.is_some() => {}
            Found::Completed => return Err(Stopped::Gone(format!("somebody else completed {}", started.id))),
            Found::Gone => return Err(Stopped::Gone(format!("snapshot {} is of no use any more", started.id))),
            Found::Pending => {
                self.fill(target, &journal).await?;
                self.wait(&self.session.target(&started), &journal).await?;
            }
        }
        let parent = journal.header.parent.as_ref();
        Ok(Published {
            id: started.id,
            volume_bytes: journal.header.device_bytes,
            parent: parent.map(|parent| parent.published.id.clone()),
            generation: parent.map_or(0, |parent| parent.published.generation + 1),
        })
    }

    /// Sends what is missing and asks EBS to complete the snapshot.
    async fn fill(&self, target: Target, journal: &Journal) -> Result<(), Stopped> {
        let id = target.id.clone();
        let header = &journal.header;
        let parent = match &header.parent {
            None => None,
            Some(parent) => {
                let missing = || Error::Missing {
                    what: format!("snapshot {}", parent.manifest),
                    store: self.session.store.root().to_owned(),
                };
                let manifest = self.session.parent_manifest(parent)?.ok_or_else(missing)?;
                Some((manifest, parent.published.volume_bytes))
            }
        };
        let parent = parent.as_ref().map(|(manifest, bytes)| (manifest, *bytes));
        let mut wanted = wanted_blocks(self.manifest, header.device_bytes, parent);
        let progress = journal.progress();
        // What was sent ahead and lies elsewhere in the end is part of the snapshot all the same.
        for index in progress.acknowledged.keys() {
            let digest = || self.manifest.digest(*index).unwrap_or(BlockDigest::ZERO);
            wanted.entry(*index).or_insert_with(digest);
        }
        let asked_before = progress.completing.is_some();
        if !asked_before {
            let reader = Arc::new(VolumeReader::open(self.session.store, self.manifest)?);
            let missing: Vec<(u64, BlockDigest)> = wanted
                .iter()
                .filter(|(index, digest)| progress.acknowledged.get(index) != Some(digest))
                .map(|(index, digest)| (*index, *digest))
                .collect();
            let total = wanted.len() as u64;
            let mut meter = Meter::new(total - missing.len() as u64, total);
            let mut missing = missing.into_iter();
            let mut queue = || {
                let block = missing.next().map(|(index, digest)| Block {
                    index,
                    digest,
                    reader: Arc::clone(&reader),
                });
                Ok(block.map_or(Next::End, Next::Block))
            };
            let watch = self.session.watch;
            match send_blocks(self.session.calls, target, journal, &mut queue, &mut meter, watch).await {
                Err(Stopped::Refused(error)) => return Err(self.explain(journal, error).await?),
                other => other?,
            }
        }
        journal.completing(&self.manifest.id)?;
        let Some(started) = journal.progress().snapshot else {
            return Err(Stopped::Gone(format!("{id} is not known")));
        };
        let target = self.session.target(&started);
        let checksum = linear_checksum(wanted.values());
        match self.session.calls.complete(&target, wanted.len(), &checksum).await {
            Ok(()) => Ok(()),
            Err((trouble, unclear)) => self.not_completed(&target, trouble, asked_before || unclear).await,
        }
    }

    /// Why a block was refused: a snapshot that is no longer pending takes none, and a new one would.
    async fn explain(&self, journal: &Journal, refusal: Error) -> Result<Stopped> {
        let Some(started) = journal.progress().snapshot else {
            return Ok(Stopped::Error(refusal));
        };
        let target = self.session.target(&started);
        Ok(match self.session.find(&target).await? {
            Found::Pending => Stopped::Error(refusal),
            Found::Completed | Found::Gone => Stopped::Gone(format!("{} takes no blocks: {refusal}", started.id)),
        })
    }

    /// After CompleteSnapshot was not answered with yes. `unclear`: an earlier call may have been heard.
    async fn not_completed(&self, target: &Target, trouble: Trouble, unclear: bool) -> Result<(), Stopped> {
        if trouble.is_gone() {
            return Err(Stopped::Gone(format!("snapshot {} is not there any more", target.id)));
        }
        let is_validation = trouble.is_validation();
        let is_refusal = matches!(trouble.action, Action::Fail(_));
        let refusal = trouble.into_error(COMPLETE, &target.id);
        // A right, a key or a quota is missing. What was sent is kept, and the next attempt looks first how the snapshot is.
        if is_refusal && !is_validation {
            return Err(refusal.into());
        }
        let until = Instant::now() + if unclear { DOUBT } else { Duration::ZERO };
        let mut pause = FIRST_LOOK;
        loop {
            match self.session.find(target).await? {
                Found::Completed => return Ok(()),
                Found::Gone => return Err(Stopped::Gone(refusal.to_string())),
                Found::Pending if Instant::now() < until => self.pause(&mut pause).await?,
                // Count or checksum are not those of EBS: it holds something else than the journal says.
                Found::Pending if is_validation => return Err(Stopped::Gone(refusal.to_string())),
                Found::Pending => return Err(refusal.into()),
            }
        }
    }

    /// Waits until EBS says `completed`.
    async fn wait(&self, target: &Target, journal: &Journal) -> Result<(), Stopped> {
        let mut pause = FIRST_LOOK;
        loop {
            let Some(described) = self.session.calls.describe(target).await? else {
                return Err(Stopped::Gone(format!("snapshot {} vanished", target.id)));
            };
            match described.status.as_str() {
                "completed" => return Ok(()),
                "pending" => self.pause(&mut pause).await?,
                status => {
                    // Nothing claims it any more, so it is collected.
                    let (uploads, cache) = (self.session.store.uploads()?, self.session.purpose.cache);
                    crate::journal::remove(&uploads, cache.as_str())?;
                    let blocks = journal.progress().acknowledged.len();
                    let message = format!(
                        "EBS could not complete snapshot {} of {blocks} blocks, its status is {status}: {}; it is made anew when it is asked for again",
                        target.id, described.message
                    );
                    let kind = ErrorKind::Unavailable;
                    return Err(Error::Service { kind, message }.into());
                }
            }
        }
    }

    async fn pause(&self, pause: &mut Duration) -> Result<()> {
        if self.session.watch.is_cancelled() {
            return Err(self.session.cancelled());
        }
        sleep(*pause).await;
        *pause = pause.saturating_mul(2).min(LONGEST_LOOK);
        Ok(())
    }
}

/// How a Ready cache keeps this volume, if it does. A damaged record is not our trouble.
fn published_as(
    store: &DirectoryStore,
    id: &imagecache_core::CacheId,
    manifest: &SnapshotManifest,
) -> Option<Published> {
    let record = store.record(id).ok().flatten()?;
    let same = record.is_ready() && record.snapshot.as_ref() == Some(&manifest.id);
    record.published.filter(|_| same)
}
