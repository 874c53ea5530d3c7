//! The caches in the service that are ours: finding, listing and removing them.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::Duration;

use imagecache_cloud_http::build::{self, Patience};
use imagecache_core::{CacheId, CacheKey, CacheState, Clock, Error, ErrorKind, ImageRef, Phase, Result};
use jiff::Timestamp;

use crate::NAME;
use crate::client::{DELETE, TkeClient};
use crate::config::DefaultsConfig;
use crate::error::ApiError;
use crate::mark::{self, Mark, Whose};
use crate::memory::Memory;
use crate::state;
use crate::wire::{CacheEntry, DescribeImageCaches};

/// Waits before each look whether a deleted cache is gone, or one that may have been created is there; together they stay
/// within what a call may take.
pub(crate) const LOOK_AFTER: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// When to ask again for a cache that is on its way in or out.
pub(crate) const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Our caches in one region.
pub(crate) struct Caches {
    pub(crate) client: TkeClient,
    pub(crate) mark: Mark,
    pub(crate) defaults: DefaultsConfig,
    pub(crate) patience: Patience,
    pub(crate) clock: Clock,
    pub(crate) memory: Memory,
    /// When this process first saw what is there.
    pub(crate) first_look: OnceLock<Timestamp>,
}

/// A cache of ours as the service lists it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: CacheEntry,
    pub(crate) state: CacheState,
}

/// What is listed under one key.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Ours, best first.
    pub(crate) ours: Vec<Found>,
    /// Failed ones whose day is over.
    pub(crate) over: Vec<Found>,
    /// Ids of those that have the name and no tag, so that nobody knows whose they are.
    pub(crate) unclear: Vec<String>,
}

/// A cache that the service would use for some images, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuitableCache {
    /// Its id.
    pub id: CacheId,
    /// Its name; empty where the service made it by itself.
    pub name: String,
    /// Its images, as they were given.
    pub images: Vec<String>,
    /// GiB.
    pub size_gib: u32,
    /// The key, where it is ours.
    pub key: Option<CacheKey>,
}

impl Found {
    /// The id.
    pub(crate) fn id(&self) -> &str {
        self.state.id.as_str()
    }

    /// Order of several caches under one key, best first.
    fn rank(&self) -> impl Ord + use<> {
        build::rank(&self.state, mark::attempt(&self.entry.tags))
    }

    /// Whether it failed, and was kept for its day.
    fn is_over(&self, now: Timestamp) -> bool {
        let failed = matches!(self.state.phase, Phase::Failed(_));
        failed && self.state.expires_at.is_some_and(|at| at <= now)
    }
}

impl Caches {
    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// What is listed under `key`, without what was deleted a moment ago.
    pub(crate) async fn find(&self, key: &CacheKey) -> Result<Listed, ApiError> {
        let mut listed = self.find_with_deleted(key).await?;
        let now = self.now();
        for caches in [&mut listed.ours, &mut listed.over] {
            caches.retain(|found| !self.memory.is_deleted(found.id(), now));
        }
        Ok(listed)
    }

    async fn find_with_deleted(&self, key: &CacheKey) -> Result<Listed, ApiError> {
        let filter = DescribeImageCaches {
            names: vec![key.to_string()],
            ..DescribeImageCaches::default()
        };
        let mut listed = Listed::default();
        for entry in self.describe(&filter).await? {
            // Whether the service compares names exactly is not documented.
            if entry.image_cache_name != key.as_str() {
                continue;
            }
            match mark::whose(&self.mark, &entry) {
                Whose::Ours(_) => self.sort_in(self.found(entry, key)?, &mut listed),
                Whose::Unclear => listed.unclear.push(entry.image_cache_id),
                Whose::Foreign => {}
            }
        }
        listed.ours.sort_by_cached_key(Found::rank);
        Ok(listed)
    }

    fn sort_in(&self, found: Found, listed: &mut Listed) {
        match found.is_over(self.now()) {
            true => listed.over.push(found),
            false => listed.ours.push(found),
        }
    }

    async fn describe(&self, filter: &DescribeImageCaches) -> Result<Vec<CacheEntry>, ApiError> {
        let entries = self.client.describe_all(filter).await?;
        self.first_look.get_or_init(|| self.now());
        Ok(entries)
    }

    /// Whether there is a cache `id`, whatever it is called.
    pub(crate) async fn is_there(&self, id: &CacheId) -> Result<bool, ApiError> {
        let filter = DescribeImageCaches {
            ids: vec![id.to_string()],
            ..DescribeImageCaches::default()
        };
        let entries = self.describe(&filter).await?;
        Ok(entries.iter().any(|entry| entry.image_cache_id == id.as_str()))
    }

    fn found(&self, entry: CacheEntry, key: &CacheKey) -> Result<Found, ApiError> {
        let state = state::state(&entry, key, &self.patience, self.now())?;
        Ok(Found { entry, state })
    }

    /// The state under `key`.
    pub(crate) async fn get(&self, key: &CacheKey) -> Result<Option<CacheState>> {
        let listed = self.find(key).await?;
        Ok(listed.ours.into_iter().next().map(|found| found.state))
    }

    /// Every cache of ours, one for each key and owner. What is one too many, or failed more than a day ago, is removed.
    pub(crate) async fn list(&self) -> Result<Vec<CacheState>> {
        let now = self.now();
        self.memory.prune(now);
        let mut listed = Listed::default();
        for entry in self.describe(&DescribeImageCaches::default()).await? {
            let Whose::Ours(key) = mark::whose(&self.mark, &entry) else {
                continue;
            };
            match self.found(entry, &key) {
                Ok(one) if self.memory.is_deleted(one.id(), now) => {}
                Ok(one) => self.sort_in(one, &mut listed),
                // One odd cache must not hide all others.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, %key, "a cache is left out"),
            }
        }
        listed.ours.sort_by_cached_key(Found::rank);
        let mut seen = HashSet::new();
        let (kept, surplus): (Vec<Found>, Vec<Found>) = listed.ours.into_iter().partition(|one| {
            let owner = mark::owner_of(&one.entry.tags).map(str::to_owned);
            seen.insert((one.state.key.clone(), owner))
        });
        self.sweep(surplus.iter().chain(&listed.over)).await;
        let mut states: Vec<CacheState> = kept.into_iter().map(|one| one.state).collect();
        states.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(states)
    }

    /// Removes caches that nobody needs and that are billed. An error is only logged: the next call tries again.
    pub(crate) async fn sweep(&self, caches: impl Iterator<Item = &Found>) {
        let own: Vec<&Found> = caches.filter(|one| self.mark.is_own(&one.entry.tags)).collect();
        for one in &own {
            let (key, id, phase) = (&one.state.key, one.id(), one.state.phase.as_str());
            tracing::warn!(%key, id, phase, "a cache that is one too many, or failed long ago, is removed");
        }
        let ids: Vec<&str> = own.iter().map(|one| one.id()).collect();
        if let Err(error) = self.remove(&ids).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "caches cannot be removed");
        }
    }

    /// Removes every cache of ours under `key`, and makes sure that they are gone.
    pub(crate) async fn delete(&self, key: &CacheKey) -> Result<()> {
        let mut recent = self.memory.lock(key, self.now()).await;
        let listed = self.find_with_deleted(key).await?;
        let found = listed.ours.iter().chain(&listed.over);
        let mut ids: Vec<String> = found.map(|found| found.id().to_owned()).collect();
        // What was just created may not be listed yet, and would be left behind.
        let created = recent.created.as_ref().map(|created| created.id.to_string());
        ids.extend(created.filter(|id| !ids.contains(id)));
        if !ids.is_empty() {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            self.remove(&ids).await?;
            self.confirm_gone(key, &ids).await?;
        }
        recent.created = None;
        recent.attempt = None;
        if let Some(since) = recent.unanswered_since
            && self.memory.is_recent(since, self.now())
        {
            // It may come, and nobody would know whose it is.
            return Err(later(
                DELETE,
                format!("a call to create `{key}` was not answered: its cache may still appear"),
            ));
        }
        recent.unanswered_since = None;
        Ok(())
    }

    /// Removes caches; those that are not there are fine.
    pub(crate) async fn remove(&self, ids: &[&str]) -> Result<(), ApiError> {
        self.client.delete(ids).await?;
        for id in ids {
            self.memory.note_deleted(id, self.now());
        }
        Ok(())
    }

    async fn confirm_gone(&self, key: &CacheKey, ids: &[&str]) -> Result<()> {
        for wait in LOOK_AFTER {
            tokio::time::sleep(wait).await;
            let left = self.find_with_deleted(key).await?;
            if !left
                .ours
                .iter()
                .chain(&left.over)
                .any(|found| ids.contains(&found.id()))
            {
                return Ok(());
            }
        }
        Err(later(DELETE, format!("{} is deleted but still listed", ids.join(", "))))
    }

    /// The cache that the service would use for a Pod with these images.
    pub(crate) async fn most_suitable(&self, images: &[ImageRef]) -> Result<Option<SuitableCache>> {
        let images: Vec<String> = images.iter().map(ImageRef::familiar).collect();
        let Some(entry) = self.client.most_suitable(&images).await? else {
            return Ok(None);
        };
        let bad_id = |_| ApiError::bad_id(crate::client::MATCH, &entry.image_cache_id);
        Ok(Some(SuitableCache {
            id: CacheId::from_vendor(&entry.image_cache_id).map_err(bad_id)?,
            key: match mark::whose(&self.mark, &entry) {
                Whose::Ours(key) => Some(key),
                Whose::Unclear | Whose::Foreign => None,
            },
            name: entry.image_cache_name,
            images: entry.images,
            size_gib: entry.image_cache_size,
        }))
    }
}

/// An answer that takes a moment more.
pub(crate) fn later(action: &'static str, message: String) -> Error {
    Error::new(ErrorKind::Conflict, NAME, action, message).with_retry_after(Some(LOOK_AGAIN_AFTER))
}
