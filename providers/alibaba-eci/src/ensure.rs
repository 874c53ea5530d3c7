//! Making sure that a cache exists, and never a second one that is billed beside it.
//!
//! Why there is no second one:
//!
//! - **The same question gives the same answer.** Every call to create carries a token computed from region, owner, key, attempt
//!   and generation. A lost answer, a retry, a crash between the call and writing its result down, and two controllers at once
//!   all send the same token, for which the service gives the same cache.
//! - **First look, then create.** A cache of ours under the key is found by its name and our tags, whoever made it, so a
//!   restarted process finds what its predecessor made.
//! - **Lists lag.** What a call to create gave counts as there for [`CONSISTENCY_WINDOW`], listed or not. If it is not listed
//!   after that, nor found by its id, it is gone: somebody deleted it, and the service remembered the token. Only then the
//!   generation is raised, which gives a new token. Deleting a cache in this process raises it at once.
//! - **Other parameters.** The service refuses a token that it knows with other parameters (a rotated password, a changed
//!   default): then the first call did happen. We wait for its cache to be listed, and raise the generation when it is not
//!   listed within the window.
//! - **One at a time.** Within a process, all calls that change caches of one key wait for each other.
//! - **If there are two all the same** (say, a token that the service forgot while lists lagged), the better one is kept and
//!   the others of this very owner are removed, with a warning in the log. Which one is better does not depend on who looks.
//!
//! A process that was restarted starts at attempt 1 and generation 0 again. If those lead to a cache that is gone, this costs
//! one window of waiting, and nothing else.

use std::time::Duration;

use imagecache_cloud_http::text::given;
use imagecache_cloud_http::{Created, build};
use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Error, ErrorKind, Phase, Result};

use crate::caches::{Caches, Found};
use crate::client::CREATE;
use crate::code::TOKEN_MISMATCH;
use crate::creation::{self, Order, Round};
use crate::error::ApiError;
use crate::mark;
#[cfg(doc)]
use crate::memory::CONSISTENCY_WINDOW;
use crate::memory::Recent;

/// Calls to create in one `ensure`: a second one only when the first gave a cache that we deleted ourselves.
const CREATE_CALLS: usize = 2;
/// When to look again for a cache that another call created.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Caches {
    /// Finds the cache for `key`, goes on with a stalled one, or has a new one built.
    pub(crate) async fn ensure(&self, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState> {
        creation::check(spec)?;
        let mut recent = self.memory.lock(key, self.now()).await;
        let mut found = self.find(key).await?.into_iter();
        let Some(best) = found.next() else {
            return self.create(key, spec, &mut recent).await;
        };
        recent.mismatch_since = None;
        if recent
            .created
            .as_ref()
            .is_some_and(|created| created.id == best.state.id)
        {
            recent.created = None;
        }
        self.remove_duplicates(&best, found).await;
        match best.state.phase {
            Phase::Stalled(_) => self.resume(key, spec, best, &mut recent).await,
            _ => Ok(best.state),
        }
    }

    /// Removes what is beside the best cache of a key. An error is only logged: the next call tries again.
    async fn remove_duplicates(&self, best: &Found, others: impl Iterator<Item = Found>) {
        for other in others.filter(|other| self.mark.is_own(&best.entry.tags) && self.mark.is_own(&other.entry.tags)) {
            let (kept, id) = (best.id(), other.id());
            tracing::warn!(key = %best.state.key, kept, removed = id, "two caches under one key: one is removed");
            if let Err(error) = self.remove(id).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    id,
                    "a duplicate cannot be removed"
                );
            }
        }
    }

    /// Goes on with a cache whose build hangs or whose update failed.
    async fn resume(&self, key: &CacheKey, spec: &CacheSpec, found: Found, recent: &mut Recent) -> Result<CacheState> {
        let attempt = mark::attempt(&found.entry.tags);
        if found.entry.status == build::UPDATE_FAILED {
            return self.update(key, spec, found, recent).await;
        }
        tracing::warn!(%key, id = found.id(), attempt, "the build hangs and is begun anew");
        self.remove(found.id()).await?;
        recent.attempt = Some(attempt.saturating_add(1));
        recent.created = None;
        self.create(key, spec, recent).await
    }

    /// Has the content built anew of a cache whose update failed, unless that was tried often enough.
    async fn update(&self, key: &CacheKey, spec: &CacheSpec, found: Found, recent: &mut Recent) -> Result<CacheState> {
        // Counted in the cache and here: whether the tags of an update are kept is not documented.
        let tried = mark::attempt(&found.entry.tags).max(recent.attempt.unwrap_or(1));
        let attempt = match self.patience.again(tried, &found.state.phase) {
            Ok(attempt) => attempt,
            Err(phase) => return Ok(CacheState { phase, ..found.state }),
        };
        tracing::warn!(%key, id = found.id(), attempt, "the update failed and is begun anew");
        let address = self.address(key, spec, attempt).await?;
        let request = creation::update(&self.order(key, spec, address.as_deref()), attempt, found.id())?;
        let answer = self.client.update(&request).await;
        if !answer.as_ref().is_err_and(ApiError::did_nothing) {
            recent.attempt = Some(attempt);
        }
        answer?;
        let phase = Phase::Unknown(build::UPDATING.to_owned());
        Ok(CacheState { phase, ..found.state })
    }

    /// Has a cache built that is not listed.
    async fn create(&self, key: &CacheKey, spec: &CacheSpec, recent: &mut Recent) -> Result<CacheState> {
        let now = self.now();
        if let Some(created) = recent.created.take() {
            if self.memory.is_recent(created.at, now) {
                let state = created.state(key, spec);
                recent.created = Some(created);
                return Ok(state);
            }
            // Asked for by its id, since lists may be searched in another way than we believe.
            if let Some(found) = self.find_by_id(&created.id, key).await? {
                recent.created = Some(created);
                return Ok(found.state);
            }
            tracing::info!(%key, id = %created.id, "a created cache never appeared: it was deleted, another one is made");
            recent.generation = recent.generation.saturating_add(1);
        }
        if let Some(since) = recent.mismatch_since {
            if self.memory.is_recent(since, now) {
                return Err(mismatch(key));
            }
            recent.mismatch_since = None;
            recent.generation = recent.generation.saturating_add(1);
        }
        for _ in 0..CREATE_CALLS {
            let round = Round {
                attempt: recent.attempt.unwrap_or(1),
                generation: recent.generation,
            };
            let address = self.address(key, spec, round.attempt).await?;
            let order = self.order(key, spec, address.as_deref());
            let request = creation::create(&order, round, self.client.region())?;
            let answer = match self.client.create(&request).await {
                Ok(answer) => answer,
                Err(error) if error.is(TOKEN_MISMATCH) => {
                    recent.mismatch_since = Some(self.now());
                    return Err(mismatch(key));
                }
                Err(error) => return Err(self.explain(error).await),
            };
            let id = CacheId::from_vendor(&answer.image_cache_id)
                .map_err(|_| ApiError::bad_id(CREATE, &answer.image_cache_id))?;
            let at = self.now();
            if self.memory.is_deleted(id.as_str(), at) {
                recent.generation = recent.generation.saturating_add(1);
                continue;
            }
            tracing::info!(%key, %id, build = answer.container_group_id, attempt = round.attempt, "a cache is being built");
            let created = Created { id, at };
            let state = created.state(key, spec);
            recent.created = Some(created);
            return Ok(state);
        }
        let message = format!("the service keeps answering with caches of `{key}` that were deleted");
        Err(Error::new(ErrorKind::Conflict, crate::NAME, CREATE, message).with_retry_after(Some(LOOK_AGAIN_AFTER)))
    }

    /// Id of the public address that is made for a build, where the spec asks for one.
    async fn address(&self, key: &CacheKey, spec: &CacheSpec, attempt: u32) -> Result<Option<String>> {
        let Some(wanted) = spec
            .options
            .public_address
            .as_ref()
            .filter(|_| creation::wants_address(spec))
        else {
            return Ok(None);
        };
        let mut resources = spec.options.alibaba.clone();
        resources.resource_group_id = resources
            .resource_group_id
            .or_else(|| given(&self.defaults.resource_group_id));
        self.addresses.obtain(key, attempt, wanted, &resources).await.map(Some)
    }

    fn order<'a>(&'a self, key: &'a CacheKey, spec: &'a CacheSpec, made_address: Option<&'a str>) -> Order<'a> {
        Order {
            key,
            spec,
            defaults: &self.defaults,
            mark: &self.mark,
            made_address,
        }
    }

    /// The error, with the numbers where a quota is the reason.
    async fn explain(&self, error: ApiError) -> Error {
        let error = Error::from(error);
        if error.kind() != ErrorKind::QuotaExceeded {
            return error;
        }
        let usage = match self.client.list_usage().await {
            Ok(usage) => usage,
            Err(unknown) => {
                tracing::debug!(error = &unknown as &dyn std::error::Error, "the quota cannot be read");
                return error;
            }
        };
        let (Some(used), Some(most)) = (usage.used_image_cache_count, usage.max_image_cache_count) else {
            return error;
        };
        let region = self.client.region();
        let message = format!(
            "{}; {used} of {most} image caches are used in {region}: delete some, or ask for a higher quota",
            error.message()
        );
        let explained = Error::new(error.kind(), crate::NAME, CREATE, message).with_retry_after(error.retry_after());
        match error.request_id() {
            Some(id) => explained.with_request_id(id),
            None => explained,
        }
        .with_source(error)
    }
}

fn mismatch(key: &CacheKey) -> Error {
    let message = format!("a cache for `{key}` was asked for before with other parameters and is not listed yet");
    Error::new(ErrorKind::Conflict, crate::NAME, CREATE, message).with_retry_after(Some(LOOK_AGAIN_AFTER))
}
