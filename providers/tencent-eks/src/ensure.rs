//! Making sure that a cache exists, and never a second one that is billed beside it.
//!
//! The service knows no idempotency token and no unique names: every call to create that arrives makes a cache. So the whole
//! argument is about not calling:
//!
//! - **First look, then create.** The key is the cache's name. A cache of ours with that name is found, whoever made it, so a
//!   restarted process finds what its predecessor made. One with that name and without any tag may be ours: nothing is
//!   created beside it, and the user is told.
//! - **Created once.** The call is [`Effect::Once`](imagecache_cloud_http::Effect): it is sent again only when it certainly
//!   did nothing, because it was not sent or was refused in so many words. A code that we do not know is no such word.
//! - **Lost answers.** A call that was not answered, or that was given up in the middle, counts as unanswered until a cache
//!   of that name is listed, or [`listing_lag`](crate::TencentConfig::listing_lag) is over without one. Until then there is
//!   no second call. The time counts from the moment when we stopped to wait, not from when the call began.
//! - **Lists lag.** What a call to create gave counts as there for as long, listed or not. After that it is asked for by its
//!   id before it counts as gone.
//! - **Crashes.** What a process knows dies with it. So an installation that has just started only looks, for as long as
//!   lists may lag: what its predecessor created is listed by then.
//! - **One at a time.** Within a process, all calls that change caches of one key wait for each other.
//! - **Look again.** In every `ensure` and every `list`, caches of this very owner under one key are told apart, the better one
//!   is kept and the others are removed. Which one is better does not depend on who looks.
//! - **Nothing is left behind.** A key with an unanswered call to create cannot be deleted before its cache is found, or
//!   certainly does not come.
//!
//! What cannot be excluded, since the service has nothing to exclude it with:
//!
//! - Two controllers of one installation that run at once, without leader election, can both look, see nothing and create.
//!   The same goes for two commands at once. The next `ensure` or `list` of either removes one cache; until then both are
//!   billed.
//! - A list that misses a cache for longer than `listing_lag`, or a request that the service carries out after that, gives a
//!   second cache until the first one is listed.
//! - The command line has no time to only look. A command that was killed and is given again within the lag of lists creates
//!   again; the next `list` removes what is one too many.

use imagecache_cloud_http::{Created, build};
use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Clock, Error, ErrorKind, Phase, Result};
use jiff::Timestamp;

use crate::caches::{Caches, Found, LOOK_AFTER, LOOK_AGAIN_AFTER, Listed, later};
use crate::client::CREATE;
use crate::creation::{self, Order};
use crate::error::ApiError;
use crate::mark;
use crate::memory::Recent;

/// A call to create that is under way: if it is given up before it is [settled](Self::settle), it stays unanswered.
struct Asking<'a> {
    recent: &'a mut Recent,
    clock: &'a Clock,
    settled: bool,
}

impl Asking<'_> {
    /// It is known what became of the call.
    fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.recent.unanswered_since = (!self.settled).then(|| (self.clock)());
    }
}

impl Caches {
    /// Finds the cache for `key`, goes on with a stalled one, or has a new one built.
    pub(crate) async fn ensure(&self, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState> {
        creation::check(spec)?;
        let mut recent = self.memory.lock(key, self.now()).await;
        let listed = self.find(key).await?;
        match self.adopt(listed, &mut recent).await {
            Ok(found) => match found.state.phase {
                Phase::Stalled(_) => self.resume(key, spec, found, &mut recent).await,
                _ => Ok(found.state),
            },
            Err(listed) => self.create(key, spec, listed, &mut recent).await,
        }
    }

    /// The best of what is listed; what is one too many is removed.
    async fn adopt(&self, listed: Listed, recent: &mut Recent) -> Result<Found, Listed> {
        let mut ours = listed.ours.into_iter();
        let Some(best) = ours.next() else {
            return Err(Listed {
                ours: Vec::new(),
                ..listed
            });
        };
        let others: Vec<Found> = ours.collect();
        let is_listed = |id: &CacheId| others.iter().chain([&best]).any(|found| found.id() == id.as_str());
        recent.created.take_if(|created| is_listed(&created.id));
        recent.unanswered_since = None;
        if self.mark.is_own(&best.entry.tags) && !others.is_empty() {
            self.sweep(others.iter()).await;
        }
        Ok(best)
    }

    /// Goes on with a cache whose build hangs or whose update failed.
    async fn resume(&self, key: &CacheKey, spec: &CacheSpec, found: Found, recent: &mut Recent) -> Result<CacheState> {
        let attempt = mark::attempt(&found.entry.tags);
        if found.entry.status == build::UPDATE_FAILED {
            return self.update(key, spec, found, recent).await;
        }
        self.has_looked_long_enough()?;
        tracing::warn!(%key, id = found.id(), attempt, "the build hangs and is begun anew");
        self.remove(&[found.id()]).await?;
        recent.attempt = Some(attempt.saturating_add(1));
        self.create(key, spec, Listed::default(), recent).await
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
        let request = creation::update(&self.order(key, spec, attempt), found.id());
        let answer = self.client.update(&request).await;
        if !answer.as_ref().is_err_and(ApiError::did_nothing) {
            recent.attempt = Some(attempt);
        }
        answer?;
        let phase = Phase::Unknown(build::UPDATING.to_owned());
        Ok(CacheState { phase, ..found.state })
    }

    /// Has a cache built of which nothing is listed but `listed`.
    async fn create(
        &self,
        key: &CacheKey,
        spec: &CacheSpec,
        listed: Listed,
        recent: &mut Recent,
    ) -> Result<CacheState> {
        let now = self.now();
        if let Some(created) = &recent.created {
            if self.memory.is_recent(created.at, now) || self.is_there(&created.id).await? {
                return Ok(created.state(key, spec));
            }
            tracing::info!(%key, id = %created.id, "a created cache never appeared: it was deleted, another one is made");
            recent.created = None;
        }
        if let Some(since) = recent.unanswered_since {
            if self.memory.is_recent(since, now) {
                let message = format!("a call to create `{key}` was not answered, and its cache is not listed yet");
                return Err(later(CREATE, message));
            }
            recent.unanswered_since = None;
        }
        if let Some(id) = listed.unclear.first() {
            let message = format!(
                "{id} has the name `{key}` and no tags, so nobody knows whether it is ours; delete or rename it if nobody needs it"
            );
            return Err(later(CREATE, message));
        }
        self.has_looked_long_enough()?;
        if !listed.over.is_empty() {
            let over: Vec<&str> = listed.over.iter().map(Found::id).collect();
            self.remove(&over).await?;
        }
        let attempt = recent.attempt.unwrap_or(1);
        let request = creation::create(&self.order(key, spec, attempt))?;
        let asking = Asking {
            recent,
            clock: &self.clock,
            settled: false,
        };
        let answer = self.client.create(&request).await;
        let outcome = answer.and_then(|answer| id_of(&answer.image_cache_id));
        let id = match outcome {
            Ok(id) => {
                asking.settle();
                id
            }
            Err(error) if error.did_nothing() => {
                asking.settle();
                return Err(error.into());
            }
            Err(error) => {
                drop(asking);
                return self.look_for_lost(key, recent, error).await;
            }
        };
        tracing::info!(%key, %id, attempt, "a cache is being built");
        let created = Created { id, at: self.now() };
        let state = created.state(key, spec);
        recent.created = Some(created);
        Ok(state)
    }

    /// What became of a call to create whose answer is lost, if it is listed soon.
    async fn look_for_lost(&self, key: &CacheKey, recent: &mut Recent, error: ApiError) -> Result<CacheState> {
        tracing::warn!(error = &error as &dyn std::error::Error, %key, "whether a cache was created is unknown");
        for wait in LOOK_AFTER {
            tokio::time::sleep(wait).await;
            match self.find(key).await {
                Ok(listed) => {
                    if let Ok(found) = self.adopt(listed, recent).await {
                        return Ok(found.state);
                    }
                }
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, %key, "no second look"),
            }
        }
        let error = Error::from(error);
        let message = format!("{}; whether the cache was created is not known yet", error.message());
        let unknown = Error::new(ErrorKind::Unavailable, crate::NAME, CREATE, message);
        Err(unknown.with_retry_after(Some(LOOK_AGAIN_AFTER)).with_source(error))
    }

    /// An installation that has just started does not know what its predecessor asked for last.
    fn has_looked_long_enough(&self) -> Result<()> {
        let now = self.now();
        let first_look: Timestamp = *self.first_look.get_or_init(|| now);
        if self.mark.is_exclusive() && self.memory.is_recent(first_look, now) {
            let message = "this process has just started, and what an earlier one created may not be listed yet";
            return Err(later(CREATE, message.to_owned()));
        }
        Ok(())
    }

    fn order<'a>(&'a self, key: &'a CacheKey, spec: &'a CacheSpec, attempt: u32) -> Order<'a> {
        Order {
            key,
            spec,
            defaults: &self.defaults,
            mark: &self.mark,
            attempt,
        }
    }
}

fn id_of(text: &str) -> Result<CacheId, ApiError> {
    CacheId::from_vendor(text).map_err(|_| ApiError::bad_id(CREATE, text))
}
