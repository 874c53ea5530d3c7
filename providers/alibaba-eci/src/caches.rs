//! The caches in the service that are ours: finding, listing and removing them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use imagecache_cloud_http::build::{self, Patience};
use imagecache_core::{CacheId, CacheKey, CacheState, Clock, Error, ErrorKind, Phase, Result};
use jiff::Timestamp;

use crate::client::{DELETE, EciClient};
use crate::config::DefaultsConfig;
use crate::eip::{Addresses, BuildState};
use crate::error::ApiError;
use crate::mark::{self, Mark};
use crate::memory::{Memory, Recent};
use crate::state;
use crate::wire::{CacheEntry, DescribeImageCaches};
use crate::{NAME, creation};

/// Waits before each look whether a deleted cache is gone; together they stay within what a call may take.
const CONFIRM_AFTER: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// When to ask again for a cache that is still on its way out.
const DELETE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Our caches in one region.
pub(crate) struct Caches {
    pub(crate) client: EciClient,
    pub(crate) addresses: Addresses,
    pub(crate) mark: Mark,
    pub(crate) defaults: DefaultsConfig,
    pub(crate) patience: Patience,
    pub(crate) clock: Clock,
    pub(crate) memory: Memory,
}

/// A cache of ours as the service lists it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: CacheEntry,
    pub(crate) state: CacheState,
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
}

impl Caches {
    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Our caches under `key`, best first.
    pub(crate) async fn find(&self, key: &CacheKey) -> Result<Vec<Found>, ApiError> {
        let now = self.now();
        let mut found = self.find_with_deleted(key).await?;
        found.retain(|found| !self.memory.is_deleted(found.id(), now));
        Ok(found)
    }

    /// The same with those that were deleted a moment ago and are still listed.
    async fn find_with_deleted(&self, key: &CacheKey) -> Result<Vec<Found>, ApiError> {
        let filter = DescribeImageCaches {
            name: Some(key.to_string()),
            ..DescribeImageCaches::default()
        };
        // Whether the service compares names exactly is not documented: the tag decides.
        let entries = self.client.describe_all(&filter).await?;
        let ours = entries
            .into_iter()
            .filter(|entry| mark::key(&self.mark, entry).as_ref() == Some(key));
        let mut found = ours
            .map(|entry| self.found(entry, key))
            .collect::<Result<Vec<_>, _>>()?;
        found.sort_by_cached_key(Found::rank);
        Ok(found)
    }

    /// The cache `id`, if it is ours and for `key`.
    pub(crate) async fn find_by_id(&self, id: &CacheId, key: &CacheKey) -> Result<Option<Found>, ApiError> {
        let filter = DescribeImageCaches {
            id: Some(id.to_string()),
            ..DescribeImageCaches::default()
        };
        let entries = self.client.describe_all(&filter).await?;
        let ours = |entry: &CacheEntry| {
            entry.image_cache_id == id.as_str() && mark::key(&self.mark, entry).as_ref() == Some(key)
        };
        entries
            .into_iter()
            .find(ours)
            .map(|entry| self.found(entry, key))
            .transpose()
    }

    fn found(&self, entry: CacheEntry, key: &CacheKey) -> Result<Found, ApiError> {
        let state = state::state(&entry, key, &self.patience, self.now())?;
        Ok(Found { entry, state })
    }

    /// The state under `key`.
    pub(crate) async fn get(&self, key: &CacheKey) -> Result<Option<CacheState>> {
        Ok(self.find(key).await?.into_iter().next().map(|found| found.state))
    }

    /// Every cache of ours, one for each key and owner.
    pub(crate) async fn list(&self) -> Result<Vec<CacheState>> {
        let now = self.now();
        self.memory.prune(now);
        let filter = DescribeImageCaches {
            tags: vec![self.mark.filter()],
            ..DescribeImageCaches::default()
        };
        let mut found = Vec::new();
        for entry in self.client.describe_all(&filter).await? {
            let Some(key) = mark::key(&self.mark, &entry) else {
                continue;
            };
            match self.found(entry, &key) {
                Ok(one) if self.memory.is_deleted(one.id(), now) => {}
                Ok(one) => found.push(one),
                // One odd cache must not hide all others.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, %key, "a cache is left out"),
            }
        }
        found.sort_by_cached_key(Found::rank);
        self.addresses.sweep(&builds(&found)).await;
        let mut seen = HashSet::new();
        found.retain(|one| {
            let owner = mark::owner_of(&one.entry.tags).map(str::to_owned);
            seen.insert((one.state.key.clone(), owner))
        });
        found.sort_by(|a, b| a.state.key.cmp(&b.state.key));
        Ok(found.into_iter().map(|one| one.state).collect())
    }

    /// Removes every cache of ours under `key`, and makes sure that they are gone.
    pub(crate) async fn delete(&self, key: &CacheKey) -> Result<()> {
        let mut recent = self.memory.lock(key, self.now()).await;
        let mut ids: Vec<String> = self
            .find_with_deleted(key)
            .await?
            .iter()
            .map(|found| found.id().to_owned())
            .collect();
        // What was just created may not be listed yet, and would be left behind.
        ids.extend(recent.created.as_ref().map(|created| created.id.to_string()));
        ids.dedup();
        if ids.is_empty() {
            forget(&mut recent);
            return Ok(());
        }
        let mut refused = None;
        for id in &ids {
            match self.remove(id).await {
                // No error is documented for this action: what an odd one means is seen by looking.
                Err(error) if error.kind() == ErrorKind::Internal => refused = Some(error),
                other => other?,
            }
        }
        forget(&mut recent);
        self.confirm_gone(key, &ids, refused).await
    }

    /// Removes one cache; one that is not there is fine.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), ApiError> {
        match self.client.delete(&creation::delete(id)).await {
            Err(error) if !is_absent(&error) => Err(error),
            _ => {
                self.memory.note_deleted(id, self.now());
                Ok(())
            }
        }
    }

    async fn confirm_gone(&self, key: &CacheKey, ids: &[String], refused: Option<ApiError>) -> Result<()> {
        for wait in CONFIRM_AFTER {
            tokio::time::sleep(wait).await;
            let left = self.find_with_deleted(key).await?;
            if !left.iter().any(|found| ids.iter().any(|id| id == found.id())) {
                return Ok(());
            }
        }
        Err(match refused {
            Some(error) => error.into(),
            None => Error::new(
                ErrorKind::Conflict,
                NAME,
                DELETE,
                format!("{} is deleted but still listed", ids.join(", ")),
            )
            .with_retry_after(Some(DELETE_AGAIN_AFTER)),
        })
    }
}

/// What the builds under each key do: one that goes on decides.
fn builds(found: &[Found]) -> BTreeMap<CacheKey, BuildState> {
    let mut builds = BTreeMap::new();
    for one in found {
        let state = match one.state.phase {
            Phase::Ready | Phase::Failed(_) => BuildState::Over,
            Phase::Pending | Phase::Creating | Phase::Stalled(_) | Phase::Unknown(_) => BuildState::Running,
        };
        let known = builds.entry(one.state.key.clone()).or_insert(state);
        if state == BuildState::Running {
            *known = state;
        }
    }
    builds
}

/// After a delete the next cache under the key needs a token of its own, and begins anew.
fn forget(recent: &mut Recent) {
    recent.generation = recent.generation.saturating_add(1);
    recent.created = None;
    recent.attempt = None;
    recent.mismatch_since = None;
}

/// Whether there is no such cache. A key that is not found is another matter, and has another kind.
fn is_absent(error: &ApiError) -> bool {
    match error.kind() {
        ErrorKind::NotFound => true,
        ErrorKind::Internal => error
            .refusal()
            .is_some_and(|refusal| refusal.code.ends_with("NotFound")),
        _ => false,
    }
}
