//! What all uploads for a cache have in common: its journal, its parent, and the start of its snapshot.

use std::sync::Arc;

use imagecache_blocks::{DirectoryStore, Error, Published, Result, SnapshotManifest, Store as _, UploadWatch};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::calls::{Calls, NEW, NewSnapshot, START, Target};
use crate::collect::collect;
use crate::journal::{Header, Journal, Parent, Started};
use crate::retry::fresh_until;
use crate::tags::{self, Purpose};
use crate::trouble::{Action, Trouble};
use crate::wanted::device_bytes;

/// A lineage this long starts anew, since no snapshot of it is deleted while another one lies on top.
const MOST_GENERATIONS: u32 = 50;

/// An upload for a cache. Whoever has one holds the cache's lock.
pub(crate) struct Session<'a> {
    pub(crate) calls: &'a Arc<Calls>,
    pub(crate) store: &'a DirectoryStore,
    pub(crate) purpose: Purpose<'a>,
    pub(crate) previous: Option<(&'a SnapshotManifest, &'a Published)>,
    pub(crate) watch: &'a dyn UploadWatch,
}

/// How a snapshot is found.
pub(crate) enum Found {
    Pending,
    Completed,
    Gone,
}

impl Session<'_> {
    /// The journal of an earlier attempt.
    pub(crate) fn earlier(&self) -> Result<Option<Journal>> {
        Journal::open(self.store, self.purpose.cache.as_str())
    }

    /// Whether the parent of a journal is still known, without which nobody can tell what the snapshot inherits.
    pub(crate) fn knows_parent(&self, journal: &Journal) -> Result<bool> {
        Ok(match &journal.header.parent {
            Some(parent) => self.parent_manifest(parent)?.is_some(),
            None => true,
        })
    }

    /// The manifest of a parent.
    pub(crate) fn parent_manifest(&self, parent: &Parent) -> Result<Option<SnapshotManifest>> {
        match self.previous {
            Some((manifest, _)) if manifest.id == parent.manifest => Ok(Some(manifest.clone())),
            _ => self.store.snapshot(&parent.manifest),
        }
    }

    /// The parent that a new snapshot gets.
    pub(crate) async fn parent(&self) -> Result<Option<Parent>> {
        let Some((manifest, published)) = self.previous else {
            return Ok(None);
        };
        // A child is encrypted as its parent is.
        let fits = published.generation < MOST_GENERATIONS
            && (!self.calls.config.wants_encryption()
                || matches!(
                    self.find(&self.calls.target(&published.id, None)).await?,
                    Found::Completed
                ));
        let parent = || Parent {
            manifest: manifest.id.clone(),
            published: published.clone(),
        };
        Ok(fits.then(parent))
    }

    /// Writes a journal down before anything is asked of EBS. It takes the place of an older one, whose snapshot is collected.
    pub(crate) fn begin(&self, parent: Option<Parent>, volume_bytes: u64) -> Result<Journal> {
        let below = parent.as_ref().map(|parent| parent.published.volume_bytes);
        let started_at = Timestamp::now();
        let header = Header::new(
            self.token(parent.as_ref(), started_at),
            self.purpose.index.clone(),
            self.purpose.manifest.cloned(),
            device_bytes(volume_bytes, below),
            parent,
            started_at,
        );
        Journal::create(self.store, self.purpose.cache.as_str(), header)
    }

    /// Equal for equal attempts only. 64 characters, as many as EBS takes.
    fn token(&self, parent: Option<&Parent>, epoch: Timestamp) -> String {
        let mut hash = Sha256::new();
        let epoch = epoch.as_nanosecond().to_string();
        let index = self.purpose.index.to_string();
        for part in [
            self.purpose.owner,
            self.purpose.cache.as_str(),
            &index,
            self.purpose.manifest.map_or("", |manifest| manifest.as_str()),
            parent.map_or("", |parent| parent.published.id.as_str()),
            &epoch,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }

    /// The snapshot of a journal, ready to be written to; started if it was not.
    pub(crate) fn target(&self, started: &Started) -> Target {
        self.calls.target(&started.id, Some(fresh_until(started.at)))
    }

    /// Starts the snapshot of a journal; without its parent when EBS does not take that. The journal may be another one then.
    pub(crate) async fn start(&self, journal: &mut Journal) -> Result<()> {
        let (mut renewed, mut cleaned) = (false, false);
        let bytes = journal.header.device_bytes;
        // The journal claims the parent since before this look. A parent that no record names now may be on its way out.
        if let Some(parent) = &journal.header.parent
            && !self.is_recorded(&parent.published.id)?
        {
            *journal = self.begin(None, bytes)?;
        }
        loop {
            let trouble = match self.start_once(&journal.header).await {
                Ok(id) => return journal.started(&id),
                Err(trouble) => trouble,
            };
            if journal.header.parent.is_some() && trouble.is_about_the_parent() {
                tracing::warn!(?trouble, "the snapshot is started without its parent");
                *journal = self.begin(None, bytes)?;
            } else if trouble.is_conflict() && !renewed {
                // The token belongs to a snapshot that was asked for with other tags: the configuration changed.
                renewed = true;
                *journal = self.begin(journal.header.parent.clone(), bytes)?;
            } else if trouble.is_pending_limit() && !cleaned {
                // Some of those that are pending may be what this program left.
                cleaned = true;
                collect(self.calls, self.purpose.owner, self.store).await?;
            } else {
                return Err(trouble.into_error(START, NEW));
            }
        }
    }

    /// Whether a Ready cache has the snapshot.
    fn is_recorded(&self, snapshot: &str) -> Result<bool> {
        for id in self.store.cache_ids()? {
            // A damaged record is not this cache's trouble.
            let Ok(Some(record)) = self.store.record(&id) else {
                continue;
            };
            if record.is_ready() && record.published.is_some_and(|published| published.id == snapshot) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn start_once(&self, header: &Header) -> Result<String, Trouble> {
        let parent = header.parent.as_ref().map(|parent| parent.published.id.as_str());
        // Only for people: that it cannot be read is no reason not to start.
        let record = self.store.record(self.purpose.cache).ok().flatten();
        let images = record.map(|record| record.spec.images).unwrap_or_default();
        let new = NewSnapshot {
            token: &header.token,
            device_bytes: header.device_bytes,
            parent,
            description: tags::description(self.purpose.cache, &images),
            tags: tags::tags(&self.purpose, &header.token, parent, &self.calls.config.tags),
        };
        self.calls.start(&new).await
    }

    /// How EBS has a snapshot. One that is not encrypted as it must be is as good as none.
    pub(crate) async fn find(&self, target: &Target) -> Result<Found> {
        let Some(described) = self.calls.describe(target).await? else {
            return Ok(Found::Gone);
        };
        let key = described.encrypted.then_some(&*described.kms_key);
        if !self.calls.config.is_encrypted_as_wanted(key) {
            tracing::warn!(
                snapshot = target.id,
                key,
                "the snapshot is not encrypted as the configuration wants it"
            );
            return Ok(Found::Gone);
        }
        Ok(match described.status.as_str() {
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
        })
    }

    pub(crate) fn cancelled(&self) -> Error {
        Error::Cancelled(format!("the snapshot of cache {}", self.purpose.cache))
    }
}

impl Trouble {
    fn is_conflict(&self) -> bool {
        self.action == Action::Fail(imagecache_core::ErrorKind::Conflict)
    }
}
