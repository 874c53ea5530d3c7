//! The steps that a reconcile pass is made of.

use std::collections::BTreeSet;
use std::time::Duration;

use imagecache_core::{CacheKey, CacheState, EventSeverity, Failure, Phase};
use imagecache_k8s_api::{ImageCacheDialect, Memory, ParsedRequest};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, info_span, warn};

use super::context::{Context, PassError};
use super::events::Notice;
use super::memo::Attempts;
use super::names::{FIELD_MANAGER, reason};
use super::policy;
use super::previous::Previous;
use super::reconcile::may_be_corrected_elsewhere;
use super::secrets;
use super::states::Owner;
use super::status::{self, Situation};
use super::watch::failure;

/// Progress is written at most this often for one object.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// A failed build is reconsidered no sooner than this.
const RECONSIDER_AFTER: Duration = Duration::from_secs(5 * 60);
/// A cache that cannot be removed, for a reason that waiting does not mend, is tried again after this all the same.
const REMOVE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// One pass over one object.
pub(super) struct Pass<'a, K: ImageCacheDialect> {
    pub(super) context: &'a Context<K>,
    object: &'a K,
    pub(super) uid: String,
    pub(super) owner: Owner,
    /// What the status says now.
    status: Option<K::Status>,
    pub(super) previous: Previous,
    /// What the status will remember.
    pub(super) memory: Memory,
    /// Key of the present spec.
    pub(super) wanted: Option<CacheKey>,
    /// What to tell the user.
    pub(super) problem: Option<Failure>,
    pub(super) expired: bool,
    wake_within: Option<Duration>,
}

impl<'a, K: ImageCacheDialect> Pass<'a, K> {
    pub(super) fn new(context: &'a Context<K>, object: &'a K) -> Self {
        let uid = object.uid().unwrap_or_default();
        let version = object.resource_version().unwrap_or_default();
        let status = context
            .memos
            .newer_than(&uid, &version)
            .or_else(|| object.status().cloned());
        let previous = status.as_ref().map(Previous::of::<K>).unwrap_or_default();
        let owner = Owner::of_uid(&uid);
        let mut memory = previous.memory.clone();
        memory.last_matched_at = context.shared.states.last_matched(&owner, memory.last_matched_at);
        Self {
            context,
            object,
            owner,
            uid,
            memory,
            status,
            previous,
            wanted: None,
            problem: None,
            expired: false,
            wake_within: None,
        }
    }

    /// From now on changes of this object's caches wake it.
    pub(super) fn listen(&self) {
        self.context
            .shared
            .states
            .tell(self.owner.clone(), self.object.name_any(), &self.context.wake);
    }

    /// Whether no pass ever wrote a status.
    pub(super) fn is_new(&self) -> bool {
        self.previous.conditions.is_empty()
    }

    /// What is known of `key`.
    pub(super) fn state(&self, key: &CacheKey) -> Option<CacheState> {
        self.context.shared.states.get(key)
    }

    /// Asks for another pass after `delay` at the latest.
    pub(super) fn wake_within(&mut self, delay: Duration) {
        self.wake_within = Some(self.wake_within.map_or(delay, |sooner| sooner.min(delay)));
    }

    /// What the controller does next with this object.
    pub(super) fn next(&self) -> Action {
        self.wake_within.map_or_else(Action::await_change, Action::requeue)
    }

    /// Removes every cache of this object but the one that it uses and the one that it wants; tells why when it cannot.
    ///
    /// The keys come from the status and from the provider's listing, so that neither a crash nor a quick second edit
    /// leaves one behind.
    pub(super) async fn collect_garbage(&mut self) -> Option<Failure> {
        let keep = [self.memory.cache_key.as_ref(), self.wanted.as_ref()];
        let mut garbage: BTreeSet<CacheKey> = self.memory.other_keys.drain(..).collect();
        garbage.extend(self.context.shared.states.keys(&self.owner));
        garbage.retain(|key| !keep.contains(&Some(key)));
        let mut failed = None;
        for key in garbage {
            if let Err(problem) = self.remove(&key).await {
                self.tell(EventSeverity::Warning, problem.kind.reason(), problem.message.clone())
                    .await;
                self.wake_within(policy::delay(problem.kind, 0, None).unwrap_or(REMOVE_AGAIN_AFTER));
                self.memory.other_keys.push(key);
                failed = Some(problem);
            }
        }
        failed
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), Failure> {
        let shared = &self.context.shared;
        let span = info_span!("provider", op = "delete", %key);
        let result = shared.provider.delete(key).instrument(span).await;
        shared.metrics.provider_call("delete", result.as_ref().err());
        match result {
            Ok(()) => {
                shared.states.removed(key);
                Ok(())
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, %key, "cannot remove a cache");
                Err(failure(&error))
            }
        }
    }

    /// Asks the provider for the cache under `key`, unless an earlier attempt says to wait.
    pub(super) async fn ensure(&mut self, key: &CacheKey, request: &ParsedRequest) -> Result<(), PassError> {
        let attempts = self.attempts(key);
        if let Some(attempts) = &attempts
            && let Some(wait) = remaining(attempts)
        {
            self.problem.clone_from(&attempts.problem);
            self.wake_unless_never(wait);
            return Ok(());
        }
        // Going on with a stalled build is an attempt too: if it stalls again at once, the next one waits longer.
        let stalled = self.state(key).and_then(|state| match state.phase {
            Phase::Stalled(failure) => Some(failure),
            _ => None,
        });
        let next = stalled.map(|stalled| self.attempt_after(key, &stalled, None, attempts.as_ref()));
        self.ensure_now(key, request, next).await
    }

    async fn ensure_now(
        &mut self,
        key: &CacheKey,
        request: &ParsedRequest,
        next: Option<Attempts>,
    ) -> Result<(), PassError> {
        self.write_ahead(key).await?;
        let shared = &self.context.shared;
        let mut spec = request.spec.clone();
        match secrets::credentials(&shared.client, &shared.pull_secrets, &request.pull_secrets).await {
            Ok(credentials) => spec.credentials = credentials,
            Err(problem) => {
                self.attempt_failed(key, problem, None);
                return Ok(());
            }
        }
        // After the key was computed: a changed profile is for new caches, it builds none anew.
        if shared.provider.capabilities().build_options {
            match shared.profiles.network().await {
                Ok(defaults) => spec.options.alibaba.fill(&defaults),
                Err(problem) => {
                    self.attempt_failed(key, problem, None);
                    return Ok(());
                }
            }
        }
        let span = info_span!("provider", op = "ensure", %key);
        let result = shared.provider.ensure(key, &spec).instrument(span).await;
        shared.metrics.provider_call("ensure", result.as_ref().err());
        match result {
            Ok(state) => {
                shared.states.heard(state);
                self.context.memos.set_attempts(&self.uid, next);
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, %key, "cannot ensure a cache");
                self.attempt_failed(key, failure(&error), error.retry_after());
            }
        }
        Ok(())
    }

    /// Writes `key` down before a cache can exist under it, so that a crash cannot lose one.
    async fn write_ahead(&mut self, key: &CacheKey) -> Result<(), PassError> {
        if self.memory.cache_key.as_ref() != Some(key) && !self.memory.other_keys.contains(key) {
            self.memory.other_keys.push(key.clone());
        }
        let known = &self.previous.memory;
        if known.cache_key.as_ref() == Some(key) || known.other_keys.contains(key) {
            return Ok(());
        }
        self.write().await
    }

    fn attempts(&self, key: &CacheKey) -> Option<Attempts> {
        self.context
            .memos
            .attempts(&self.uid, key, self.object.meta().generation)
    }

    fn attempt_after(
        &self,
        key: &CacheKey,
        problem: &Failure,
        retry_after: Option<Duration>,
        earlier: Option<&Attempts>,
    ) -> Attempts {
        let count = earlier.map_or(0, |earlier| earlier.count.saturating_add(1));
        let delay = policy::delay(problem.kind, count, retry_after);
        Attempts {
            key: key.clone(),
            generation: self.object.meta().generation,
            count,
            not_before: delay.map(|delay| Instant::now() + delay),
            problem: None,
        }
    }

    fn attempt_failed(&mut self, key: &CacheKey, problem: Failure, retry_after: Option<Duration>) {
        let mut next = self.attempt_after(key, &problem, retry_after, self.attempts(key).as_ref());
        next.problem = Some(problem.clone());
        self.wake_unless_never(remaining(&next).unwrap_or_default());
        self.context.memos.set_attempts(&self.uid, Some(next));
        self.problem = Some(problem);
    }

    fn wake_unless_never(&mut self, wait: Duration) {
        if wait != Duration::MAX {
            self.wake_within(wait);
        }
    }

    /// It worked: the next trouble starts counting anew.
    pub(super) fn attempts_over(&self) {
        self.context.memos.set_attempts(&self.uid, None);
    }

    /// Builds a failed cache again, seldom, when the cause may have been corrected without a change of the spec.
    pub(super) async fn reconsider(&mut self, key: &CacheKey, request: &ParsedRequest) -> Result<(), PassError> {
        let shared = &self.context.shared;
        let Some(CacheState {
            phase: Phase::Failed(cause),
            ..
        }) = self.state(key)
        else {
            return Ok(());
        };
        if !may_be_corrected_elsewhere(cause.kind) || !shared.provider.capabilities().builds_in_process {
            return Ok(());
        }
        let attempts = self.attempts(key);
        let wait = attempts.as_ref().map(remaining);
        let mut next = self.attempt_after(key, &cause, None, attempts.as_ref());
        next.not_before = next.not_before.max(Some(Instant::now() + RECONSIDER_AFTER));
        match wait {
            None => {
                self.wake_within(RECONSIDER_AFTER);
                self.context.memos.set_attempts(&self.uid, Some(next));
            }
            Some(Some(wait)) => self.wake_unless_never(wait),
            Some(None) => {
                self.wake_within(remaining(&next).unwrap_or_default());
                // One that cannot be removed stays as it is, and is looked at again with the next attempt.
                if self.remove(key).await.is_ok() {
                    self.ensure_now(key, request, Some(next)).await?;
                } else {
                    self.context.memos.set_attempts(&self.uid, Some(next));
                }
            }
        }
        Ok(())
    }

    /// Writes the status if it says anything new, and tells people if that is news.
    pub(super) async fn write(&mut self) -> Result<(), PassError> {
        let shared = &self.context.shared;
        let serving = self.memory.cache_key.as_ref().and_then(|key| self.state(key));
        let wanted = self.wanted.as_ref().and_then(|key| self.state(key));
        if let Some(key) = &self.memory.cache_key {
            self.memory.other_keys.retain(|other| other != key);
        }
        let report = status::report(Situation {
            memory: self.memory.clone(),
            desired: self.wanted.as_ref(),
            serving: serving.as_ref(),
            wanted: wanted.as_ref(),
            problem: self.problem.clone(),
            expired: self.expired,
            generation: self.object.meta().generation,
            previous: &self.previous,
            cost: self.cost(serving.as_ref()),
            now: (shared.clock)(),
        });
        let new = K::render(&report);
        if self.status.as_ref() == Some(&new) {
            return Ok(());
        }
        let only_progress = status::same_but_for_activity(&report, &self.previous)
            && report.memory == self.previous.memory
            && report.id == self.previous.id;
        let since = self.context.memos.since_written(&self.uid);
        if only_progress && let Some(wait) = since.and_then(|since| PROGRESS_INTERVAL.checked_sub(since)) {
            self.wake_within(wait);
            return Ok(());
        }
        self.send(&new).await?;
        if let Some(notice) = status::notice(&self.previous, &report) {
            shared
                .publisher
                .publish(&shared.client, &self.object.object_ref(&()), notice)
                .await;
        }
        self.previous = Previous::of::<K>(&new);
        self.status = Some(new);
        Ok(())
    }

    /// What the cache that pods use costs; of one that is being built the content is not known.
    fn cost(&self, serving: Option<&CacheState>) -> Option<String> {
        let ready = serving.filter(|state| state.phase == Phase::Ready)?;
        self.context.shared.cost.as_ref()?.of(ready)
    }

    async fn send(&self, status: &K::Status) -> Result<(), PassError> {
        let name = self.object.name_any();
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // The UID makes the write fail when the object was deleted and made again meanwhile.
            "metadata": { "name": name, "uid": self.uid },
            "status": status,
        });
        let api: Api<K> = Api::all(self.context.shared.client.clone());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&name, &params, &Patch::Apply(&body)).await {
            Ok(written) => {
                let seen = self.object.resource_version().unwrap_or_default();
                self.context
                    .memos
                    .wrote(&self.uid, seen, written.resource_version(), status.clone());
                self.context.shared.metrics.status_written(K::DIALECT);
                Ok(())
            }
            Err(kube::Error::Api(answer)) if answer.code == 404 => {
                debug!(name, "the object is gone, its status is not needed any more");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells that the caches of a deleted object are being removed.
    pub(super) async fn tell_deleting(&self) {
        self.tell(
            EventSeverity::Normal,
            reason::DELETING,
            "removing its image caches".to_owned(),
        )
        .await;
    }

    async fn tell(&self, severity: EventSeverity, reason: &'static str, note: String) {
        let shared = &self.context.shared;
        let notice = Notice { severity, reason, note };
        shared
            .publisher
            .publish(&shared.client, &self.object.object_ref(&()), notice)
            .await;
    }
}

/// How long until the next attempt may start; `None` when it may, `Duration::MAX` for never.
fn remaining(attempts: &Attempts) -> Option<Duration> {
    match attempts.not_before {
        None => Some(Duration::MAX),
        Some(at) => Some(at.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero()),
    }
}
