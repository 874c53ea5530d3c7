//! Looks after pods once they were created: tells on each which cache it got, counts that, and makes caches for pods that
//! found none with all of their images.
//!
//! ```text
//! API server ──watch──> seen before? ──judge()──> events, metrics, last use of the cache
//!                                        │
//!                                        └──no cache has all of it──> keeper: an ImageCache, once, within a limit
//! ```
//!
//! Nothing is kept of a pod but its UID, and that for half an hour: an event's name says what it is about, so a second one is
//! refused by the API server, and the name of an automatic cache says what is in it.

mod automatic;
mod judge;
mod keeper;
mod notices;
mod seen;
mod settings;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use imagecache_core::{CacheKey, CacheProvider, Clock};
use imagecache_k8s_api::pod::PodView;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tracing::{info, warn};

pub use settings::{Automatic, Lifetime, PodsConfig, Settings};

use crate::catalog::Catalog;
use crate::kubernetes::{Metrics, Notice, PullSecretPolicy, is_forbidden, publish_once};
use judge::{Outcome, judge};
use keeper::{Keeper, Made};
use seen::Seen;

/// A pod that is older was looked after when it was young, or nobody waits for its events any more. Kubernetes keeps events
/// for an hour, so within this time a second one is refused.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(30);
/// Pods that are looked after at once: enough to hide the latency of the API server.
const CONCURRENCY: usize = 16;
/// Between two looks whether the provider has listed its caches.
const LOADING_PAUSE: Duration = Duration::from_millis(100);
/// What an event is about that says what became of a pod.
const OUTCOME: &str = "outcome";
/// Pods in here are what a cluster is made of; admission leaves them alone, too.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Is told when a pod got the cache under a key, and when that pod was created.
pub(crate) type Matched = Box<dyn Fn(&CacheKey, Timestamp) + Send + Sync>;

/// What pods are looked after with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) provider: Arc<dyn CacheProvider>,
    pub(crate) native_dialect: Option<&'static str>,
    pub(crate) pull_secrets: PullSecretPolicy,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) matched: Matched,
}

/// Looks after pods until it is dropped.
pub(crate) async fn run(parts: Parts, settings: Settings) {
    // Before that nobody can say what a pod could have had.
    while !parts.catalog.is_loaded() {
        tokio::time::sleep(LOADING_PAUSE).await;
    }
    let keeper = Keeper::new(&parts, &settings);
    let caretaker = Caretaker {
        seen: Seen::new(MAX_AGE.unsigned_abs()),
        keeper,
        parts,
        settings,
    };
    tokio::join!(caretaker.follow(), caretaker.keeper.tidy_up());
}

struct Caretaker {
    parts: Parts,
    settings: Settings,
    keeper: Keeper,
    seen: Seen,
}

impl Caretaker {
    async fn follow(&self) {
        let api: Api<Pod> = Api::all(self.parts.client.clone());
        let changes = watcher(api, watcher::Config::default()).default_backoff();
        let mut told = false;
        let new = changes.filter_map(|change| {
            let pod = match change {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    told = false;
                    self.new_one(pod)
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
        pin!(new)
            .for_each_concurrent(CONCURRENCY, |pod| self.look_after(pod))
            .await;
    }

    /// The pod in short, unless it was seen, is old or on its way out, or is none of ours.
    fn new_one(&self, pod: Pod) -> Option<PodView> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let pod = PodView::from(pod);
        let created = pod.metadata.creation_timestamp?;
        let age = (self.parts.clock)().duration_since(created);
        let ours = pod.metadata.namespace != SYSTEM_NAMESPACE && age < MAX_AGE;
        (ours && self.seen.is_new(&pod.metadata.uid)).then_some(pod)
    }

    async fn look_after(&self, pod: PodView) {
        let parts = &self.parts;
        let now = (parts.clock)();
        let bind = |id: &_| parts.provider.bind(id);
        let decide = |request: &_| parts.catalog.decide(request, now);
        let Some(judgement) = judge(&pod, parts.native_dialect, bind, decide) else {
            return;
        };
        let (dialect, provider) = (judgement.request.dialect, parts.provider.name());
        let mut others = Vec::from_iter(notices::lacking(&judgement));
        match self.keeper.provide(&judgement, &pod, &parts.catalog, now).await {
            Ok(Made::Nothing) => {}
            Ok(Made::Cache(name)) => {
                info!(
                    name,
                    dialect, "made a cache for a pod that found none with all of its images"
                );
                parts.metrics.automatic(dialect, "created", provider);
                others.extend(notices::created(&judgement, &name));
            }
            Err(trouble) => {
                parts.metrics.automatic(dialect, trouble.label(), provider);
                if trouble.is_transient() {
                    // A young pod changes soon, and is then looked after again.
                    self.seen.forget(&pod.metadata.uid);
                    return;
                }
                others.extend(notices::not_created(&judgement, &trouble.to_string()));
            }
        }
        parts.metrics.matched(dialect, judgement.label(), provider);
        if let (Outcome::Used { key, .. }, Some(created)) = (&judgement.outcome, pod.metadata.creation_timestamp) {
            (parts.matched)(key, created);
        }
        if self.settings.events {
            self.tell(&pod, notices::outcome(&judgement), &others).await;
        }
    }

    /// Tells what became of the pod, once: what a later process would say of the same pod may differ, since caches come and go.
    async fn tell(&self, pod: &PodView, outcome: Option<Notice>, others: &[Notice]) {
        let metadata = &pod.metadata;
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(metadata.name.clone()),
            namespace: Some(metadata.namespace.clone()),
            uid: Some(metadata.uid.clone()),
            ..ObjectReference::default()
        };
        let outcome = outcome.iter().map(|notice| (OUTCOME, notice));
        let others = others.iter().map(|notice| (notice.reason, notice));
        for (once, notice) in outcome.chain(others) {
            publish_once(&self.parts.client, &regarding, once, notice).await;
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
