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

use imagecache_core::{CacheProvider, Clock, system_clock};
use imagecache_k8s_api::{alibaba, tencent};
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use owner::{OwnerError, cluster_owner};
pub use secrets::PullSecretPolicy;

use context::Shared;
use events::Publisher;
use health::Health;
use metrics::Metrics;
use states::States;
use watch::Watching;

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
    /// Whether the ConfigMap `kube-system/eci-profile` gives builds their network where the object names none.
    pub eci_profile: bool,
    /// Whether caches of objects that are gone are removed, where the provider can tell ours from others'.
    pub remove_orphans: bool,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_interval: DEFAULT_POLL_INTERVAL,
            pull_secrets: PullSecretPolicy::default(),
            eci_profile: false,
            remove_orphans: true,
            clock: system_clock(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("poll_interval", &self.poll_interval)
            .field("pull_secrets", &self.pull_secrets)
            .field("eci_profile", &self.eci_profile)
            .field("remove_orphans", &self.remove_orphans)
            .finish_non_exhaustive()
    }
}

/// Why the controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address for health checks is taken, or not ours.
    #[error("cannot listen on {address} for health checks, choose another address")]
    Listen {
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
/// [`Error::Listen`] when `health` cannot be listened on.
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
            Some(bound.map_err(|source| Error::Listen { address, source })?)
        }
        None => None,
    };
    let shared = Arc::new(Shared {
        client,
        provider: Arc::clone(&provider),
        states: States::default(),
        pull_secrets: settings.pull_secrets,
        eci_profile: settings.eci_profile,
        publisher: Publisher::default(),
        metrics: Metrics::default(),
        clock: settings.clock,
    });
    let health = Arc::new(Health::default());
    let stop = CancellationToken::new();
    let watching = Watching {
        poll_interval: settings.poll_interval,
        remove_orphans: settings.remove_orphans,
    };
    let reconciling = async {
        tokio::join!(
            controller::run::<alibaba::ImageCache>(&shared, &health, &stop),
            controller::run::<tencent::ImageCache>(&shared, &health, &stop),
        )
    };
    let answering = async {
        match listener {
            Some(listener) => health::serve(listener, &health, &shared).await,
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
        _ = reconciling => {}
        () = watch::watch(provider.as_ref(), &shared, &watching, &health) => {}
        () = answering => {}
        () = stopping => {}
    }
    Ok(())
}
