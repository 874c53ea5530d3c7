//! Follows pods and looks after each new one until all is done.

use std::pin::pin;

use futures::StreamExt as _;
use imagecache_core::ErrorKind;
use imagecache_k8s_api::pod::{PodView, namespace_opts_out};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Pod};
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::judge::{Judgement, Outcome, judge};
use super::keeper::{Keeper, Made};
use super::notices;
use super::seen::Seen;
use super::{Parts, Settings};
use crate::kubernetes::{Notice, is_forbidden, is_transient, publish_once, requeue_delay};
use crate::webhook::SYSTEM_NAMESPACE;

/// A pod that is older was looked after when it was young, or nobody waits for its events any more. Kubernetes keeps events
/// for an hour, so within this time a second one is refused.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(30);
/// Pods that are looked after at once: enough to hide the latency of the API server.
const CONCURRENCY: usize = 16;
/// What an event is about that says what became of a pod.
const OUTCOME: &str = "outcome";

/// Looks after pods.
pub(super) struct Caretaker {
    parts: Parts,
    settings: Settings,
    keeper: Keeper,
    pub(super) seen: Seen,
    slots: Semaphore,
}

/// How far a pod was looked after.
#[derive(Default)]
struct Case {
    /// What it got; judged once, since caches come and go.
    judgement: Option<Judgement>,
    /// Whether it was seen to that there is a cache with all of its images.
    provided: bool,
    /// What it still has to be told, and what makes each of it the only one of its kind.
    untold: Vec<(&'static str, Notice)>,
}

/// Where a pod stands after an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    /// Something failed that may pass.
    Again,
}

impl Caretaker {
    pub(super) fn new(parts: Parts, settings: Settings) -> Self {
        Self {
            keeper: Keeper::new(&parts, &settings),
            seen: Seen::new(MAX_AGE.unsigned_abs()),
            slots: Semaphore::new(CONCURRENCY),
            parts,
            settings,
        }
    }

    /// Removes automatic caches that no pod uses any more, until it is dropped.
    pub(super) async fn tidy_up(&self) {
        self.keeper.tidy_up().await;
    }

    /// Follows pods until it is dropped.
    pub(super) async fn follow(&self) {
        let api: Api<Pod> = Api::all(self.parts.client.clone());
        let changes = watcher(api, watcher::Config::default()).default_backoff();
        let mut told = false;
        let new = changes.filter_map(|change| {
            let pod = match change {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    told = false;
                    self.new_one(pod)
                }
                Ok(watcher::Event::Delete(pod)) => {
                    self.seen.forget(&pod.metadata.uid.unwrap_or_default());
                    None
                }
                Ok(_) => None,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        cannot_watch(&error);
                    }
                    None
                }
            };
            std::future::ready(pod)
        });
        // The slots bound the work; one that waits for its next attempt holds none.
        pin!(new).for_each_concurrent(None, |pod| self.look_after(pod)).await;
    }

    /// The pod in short, unless it was seen, is old or on its way out, or is none of ours.
    pub(super) fn new_one(&self, pod: Pod) -> Option<PodView> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let pod = PodView::from(pod);
        let namespace = pod.metadata.namespace.as_str();
        let excluded = namespace == SYSTEM_NAMESPACE || self.parts.own_namespace.as_deref() == Some(namespace);
        (!excluded && self.is_young(&pod) && self.seen.is_new(&pod.metadata.uid)).then_some(pod)
    }

    fn is_young(&self, pod: &PodView) -> bool {
        let created = pod.metadata.creation_timestamp;
        created.is_some_and(|created| (self.parts.clock)().duration_since(created) < MAX_AGE)
    }

    /// Looks after one pod, again while something fails that may pass and the pod is there and young.
    pub(super) async fn look_after(&self, pod: PodView) {
        let mut case = Case::default();
        let mut failures = 0;
        while self.attend(&pod, &mut case).await == Progress::Again {
            let Some(delay) = requeue_delay(ErrorKind::Unavailable, failures, None) else {
                return;
            };
            failures += 1;
            tokio::time::sleep(delay).await;
            if !self.is_young(&pod) || !self.seen.has(&pod.metadata.uid) {
                return;
            }
        }
    }

    async fn attend(&self, pod: &PodView, case: &mut Case) -> Progress {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let judgement = match &case.judgement {
            Some(judgement) => judgement.clone(),
            None => {
                let Some(judgement) = self.judge(pod) else {
                    return Progress::Done;
                };
                match self.is_opted_out(&pod.metadata.namespace).await {
                    Ok(true) => return Progress::Done,
                    Ok(false) => {}
                    Err(_) => return Progress::Again,
                }
                self.judged(pod, &judgement, case);
                judgement
            }
        };
        if !case.provided {
            self.provide(pod, &judgement, case).await;
        }
        if self.settings.events {
            self.tell(pod, &mut case.untold).await;
        } else {
            case.untold.clear();
        }
        if case.provided && case.untold.is_empty() {
            Progress::Done
        } else {
            Progress::Again
        }
    }

    fn judge(&self, pod: &PodView) -> Option<Judgement> {
        let parts = &self.parts;
        let now = (parts.clock)();
        let bind = |id: &_| parts.provider.bind(id);
        let decide = |request: &_| parts.catalog.decide(request, now);
        judge(pod, parts.native_dialect, bind, decide)
    }

    /// Whether the pods of `namespace` are none of ours: the API server does not even ask about them.
    async fn is_opted_out(&self, namespace: &str) -> Result<bool, kube::Error> {
        if let Some(labels) = self.parts.profiles.namespace(namespace) {
            return Ok(namespace_opts_out(&labels));
        }
        // It is newer than its last change that we heard of, or we may not follow them.
        let api: Api<Namespace> = Api::all(self.parts.client.clone());
        match api.get_metadata_opt(namespace).await {
            Ok(found) => {
                let labels = found.and_then(|found| found.metadata.labels).unwrap_or_default();
                Ok(namespace_opts_out(&labels))
            }
            Err(error) if is_transient(&error) => Err(error),
            // That namespaces cannot be read was told where they are followed.
            Err(_) => Ok(false),
        }
    }

    /// Counts what became of a pod, and notes it.
    fn judged(&self, pod: &PodView, judgement: &Judgement, case: &mut Case) {
        let parts = &self.parts;
        let (dialect, provider) = (judgement.request.dialect, parts.provider.name());
        parts.metrics.matched(dialect, judgement.label(), provider);
        if let (Outcome::Used { key, .. }, Some(created)) = (&judgement.outcome, pod.metadata.creation_timestamp) {
            (parts.matched)(key, created);
        }
        let outcome = notices::outcome(judgement).map(|notice| (OUTCOME, notice));
        let lacking = notices::lacking(judgement).map(|notice| (notice.reason, notice));
        case.untold.extend(outcome.into_iter().chain(lacking));
        case.judgement = Some(judgement.clone());
    }

    async fn provide(&self, pod: &PodView, judgement: &Judgement, case: &mut Case) {
        let parts = &self.parts;
        let (dialect, provider) = (judgement.request.dialect, parts.provider.name());
        let now = (parts.clock)();
        let notice = match self.keeper.provide(judgement, pod, &parts.catalog, now).await {
            Ok(Made::Nothing) => None,
            Ok(Made::Cache(name)) => {
                info!(
                    name,
                    dialect, "made a cache for a pod that found none with all of its images"
                );
                parts.metrics.automatic(dialect, "created", provider);
                notices::created(judgement, &name)
            }
            Err(trouble) => {
                parts.metrics.automatic(dialect, trouble.label(), provider);
                if trouble.is_transient() {
                    return;
                }
                notices::not_created(judgement, &trouble.to_string())
            }
        };
        case.untold.extend(notice.map(|notice| (notice.reason, notice)));
        case.provided = true;
    }

    /// Tells what became of the pod, once: what a later process would say of the same pod may differ, since caches come and go.
    /// What cannot be told now stays.
    async fn tell(&self, pod: &PodView, untold: &mut Vec<(&'static str, Notice)>) {
        let metadata = &pod.metadata;
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(metadata.name.clone()),
            namespace: Some(metadata.namespace.clone()),
            uid: Some(metadata.uid.clone()),
            ..ObjectReference::default()
        };
        for (once, notice) in std::mem::take(untold) {
            if publish_once(&self.parts.client, &regarding, once, &notice)
                .await
                .is_err()
            {
                untold.push((once, notice));
            }
        }
    }
}

fn cannot_watch(error: &watcher::Error) {
    let remedy = if is_forbidden(error) {
        ": grant the controller `list` and `watch` on pods, or set controller.pods.enabled to false"
    } else {
        ", trying again"
    };
    warn!(
        error = error as &dyn std::error::Error,
        "cannot follow pods, so they get neither events nor automatic caches{remedy}"
    );
}
