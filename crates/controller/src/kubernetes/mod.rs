//! The Kubernetes side: reconciles both `ImageCache` kinds against one provider.
//!
//! ```text
//! API server ──watch──> reconcile ──plan()──> provider
//!      ^                   │   ^                 │
//!      └──status, events───┘   └──wake── states <┘ one listing an interval
//! ```
//!
//! Every pass is a function of the object and of what the provider keeps, so the controller may stop at any moment: what
//! it holds in memory only saves calls. Caches that belong to no object are removed where the provider can tell that this
//! installation made them for one (`orphans`); elsewhere they may come from the command line and are never touched.

mod context;
mod controller;
mod events;
mod follow;
mod health;
mod memo;
mod metrics;
mod names;
mod orphans;
mod owner;
mod pass;
mod policy;
mod previous;
mod profile;
mod reconcile;
mod secrets;
mod states;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imagecache_core::matching::RegistryAliases;
use imagecache_core::{CacheProvider, Clock, system_clock};
use imagecache_k8s_api::{alibaba, tencent};
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cost_config::CostHints;

pub(crate) use events::{Notice, is_transient, publish_once};
pub(crate) use metrics::Metrics;
pub use owner::{OwnerError, cluster_owner};
pub(crate) use policy::delay as requeue_delay;
pub(crate) use profile::is_forbidden;
pub use profile::{ProfileSources, Profiles};
pub use secrets::PullSecretPolicy;

use context::Shared;
use events::Publisher;
use health::{Certified, Health};
use profile::Namespaces;
use states::States;
use watch::Watching;

use crate::catalog::Catalog;
use crate::pods;
use crate::webhook::{self, Webhook};

/// How often all caches are listed when nothing else is said: as often as a status may be written.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long passes may take to finish when the process is asked to end; Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(10);

/// How the controller works.
#[derive(Clone)]
pub struct Settings {
    /// How often all caches are listed while any of them is being built; ten times more seldom otherwise.
    pub poll_interval: Duration,
    /// From which namespaces pull secrets may be read.
    pub pull_secrets: PullSecretPolicy,
    /// Which ConfigMaps of the cluster are followed.
    pub profiles: ProfileSources,
    /// Whether caches of objects that are gone are removed, where the provider can tell ours from others'.
    pub remove_orphans: bool,
    /// What each status says of costs; `None` says nothing.
    pub cost: Option<CostHints>,
    /// Names that mean the same registry, for the choice of a cache.
    pub registry_aliases: RegistryAliases,
    /// The dialect of the provider's own cloud, which counts where a pod speaks two.
    pub native_dialect: Option<&'static str>,
    /// Where pods are asked about, if anywhere.
    pub webhook: Option<webhook::Settings>,
    /// How pods are looked after, if at all.
    pub pods: Option<pods::Settings>,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_interval: DEFAULT_POLL_INTERVAL,
            pull_secrets: PullSecretPolicy::default(),
            profiles: ProfileSources::default(),
            remove_orphans: true,
            cost: None,
            registry_aliases: RegistryAliases::default(),
            native_dialect: None,
            webhook: None,
            pods: None,
            clock: system_clock(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("poll_interval", &self.poll_interval)
            .field("pull_secrets", &self.pull_secrets)
            .field("profiles", &self.profiles)
            .field("remove_orphans", &self.remove_orphans)
            .field("cost", &self.cost)
            .field("registry_aliases", &self.registry_aliases)
            .field("native_dialect", &self.native_dialect)
            .field("webhook", &self.webhook)
            .field("pods", &self.pods)
            .finish_non_exhaustive()
    }
}

/// Why the controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address for something is taken, or not ours.
    #[error("cannot listen on {address} for {what}, choose another address")]
    Listen {
        /// What would be answered there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reconciles until `shutdown` resolves, then finishes the passes that are running.
///
/// A kind whose resource definition is not installed is waited for; the other one works meanwhile.
///
/// # Errors
///
/// None once it runs: trouble with an object is in its status, trouble with the API server or the provider in the log.
pub async fn run(
    client: Client,
    provider: Arc<dyn CacheProvider>,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    run_with_health(client, provider, settings, None, shutdown).await
}

/// As [`run`], and answers `/healthz`, `/readyz` and `/metrics` on `health` meanwhile.
///
/// # Errors
///
/// [`Error::Listen`] when `health`, or the webhook's address, cannot be listened on.
pub async fn run_with_health(
    client: Client,
    provider: Arc<dyn CacheProvider>,
    settings: Settings,
    health: Option<SocketAddr>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let listener = match health {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|source| Error::Listen {
                what: "health checks",
                address,
                source,
            })?)
        }
        None => None,
    };
    let webhook = settings.webhook.map(|settings| {
        let address = settings.listen;
        Webhook::bind(settings).map_err(|source| Error::Listen {
            what: "the webhook",
            address,
            source,
        })
    });
    let webhook = webhook.transpose()?;
    let own_namespace = webhook.as_ref().and_then(|webhook| webhook.own_namespace(&client));
    let shared = Arc::new(Shared {
        client,
        provider: Arc::clone(&provider),
        states: States::default(),
        catalog: Arc::new(Catalog::new(settings.registry_aliases)),
        pull_secrets: settings.pull_secrets,
        profiles: Arc::new(Profiles::new(settings.profiles)),
        cost: settings.cost,
        publisher: Publisher::default(),
        metrics: Arc::default(),
        clock: settings.clock,
    });
    let certified = webhook
        .as_ref()
        .map(|webhook| -> Certified { Box::new(webhook.readiness()) });
    let health = Arc::new(Health::new(certified));
    let stop = CancellationToken::new();
    let watching = Watching {
        poll_interval: settings.poll_interval,
        remove_orphans: settings.remove_orphans,
    };
    let answering = async {
        match listener {
            Some(listener) => health::serve(listener, &health, &shared).await,
            None => std::future::pending().await,
        }
    };
    let admitting = async {
        match webhook {
            Some(webhook) => webhook.run(parts(&shared, settings.native_dialect), &stop).await,
            None => stop.cancelled().await,
        }
    };
    let working = async {
        tokio::join!(
            controller::run::<alibaba::ImageCache>(&shared, &health, &stop),
            controller::run::<tencent::ImageCache>(&shared, &health, &stop),
            admitting,
        )
    };
    let namespaces = match settings.pods {
        Some(_) => Namespaces::Always,
        None => Namespaces::WhenSelected,
    };
    let caring = async {
        match settings.pods {
            Some(pods) => {
                let parts = parts_for_pods(&shared, settings.native_dialect, own_namespace);
                pods::run(parts, pods).await;
            }
            None => std::future::pending().await,
        }
    };
    let stopping = async {
        shutdown.await;
        info!("stopping, passes that are running finish first");
        stop.cancel();
        // A loop that was stopped before its first list never ends by itself (kube waits for the list).
        tokio::time::sleep(GRACE).await;
        info!("stopping without waiting any longer");
    };
    tokio::select! {
        _ = working => {}
        () = watch::watch(provider.as_ref(), &shared, &watching, &health) => {}
        () = follow::follow(&shared.states, &shared.catalog) => {}
        () = answering => {}
        () = caring => {}
        () = shared.profiles.follow(&shared.client, namespaces) => {}
        () = stopping => {}
    }
    Ok(())
}

/// What the webhook works with.
fn parts(shared: &Shared, native_dialect: Option<&'static str>) -> webhook::Parts {
    webhook::Parts {
        client: shared.client.clone(),
        catalog: Arc::clone(&shared.catalog),
        profiles: Arc::clone(&shared.profiles),
        provider: Arc::clone(&shared.provider),
        native_dialect,
        metrics: Arc::clone(&shared.metrics),
        clock: Arc::clone(&shared.clock),
    }
}

/// What pods are looked after with.
fn parts_for_pods(
    shared: &Arc<Shared>,
    native_dialect: Option<&'static str>,
    own_namespace: Option<String>,
) -> pods::Parts {
    let states = Arc::clone(shared);
    pods::Parts {
        client: shared.client.clone(),
        catalog: Arc::clone(&shared.catalog),
        profiles: Arc::clone(&shared.profiles),
        provider: Arc::clone(&shared.provider),
        own_namespace,
        native_dialect,
        pull_secrets: shared.pull_secrets.clone(),
        metrics: Arc::clone(&shared.metrics),
        clock: Arc::clone(&shared.clock),
        matched: Box::new(move |key, at| states.states.matched(key, at)),
    }
}
