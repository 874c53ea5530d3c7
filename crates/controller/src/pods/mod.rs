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
mod caretaker;
mod judge;
mod keeper;
mod notices;
mod seen;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use imagecache_core::{CacheKey, CacheProvider, Clock};
use jiff::Timestamp;
use kube::Client;

pub use settings::{Automatic, Lifetime, PodsConfig, Settings};

use crate::catalog::Catalog;
use crate::kubernetes::{Metrics, Profiles, PullSecretPolicy};
use caretaker::Caretaker;

/// Between two looks whether the provider has listed its caches, and the API server its namespaces.
const LOADING_PAUSE: Duration = Duration::from_millis(100);

/// Is told when a pod got the cache under a key, and when that pod was created.
pub(crate) type Matched = Box<dyn Fn(&CacheKey, Timestamp) + Send + Sync>;

/// What pods are looked after with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) catalog: Arc<Catalog>,
    /// The labels of namespaces.
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) provider: Arc<dyn CacheProvider>,
    /// The namespace whose pods admission leaves alone beside the system's, if any.
    pub(crate) own_namespace: Option<String>,
    pub(crate) native_dialect: Option<&'static str>,
    pub(crate) pull_secrets: PullSecretPolicy,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) matched: Matched,
}

/// Looks after pods until it is dropped.
pub(crate) async fn run(parts: Parts, settings: Settings) {
    // Before that nobody can say what a pod could have had, nor whether it wanted any.
    while !(parts.catalog.is_loaded() && parts.profiles.knows_namespaces()) {
        tokio::time::sleep(LOADING_PAUSE).await;
    }
    let caretaker = Caretaker::new(parts, settings);
    // Neither ever ends.
    tokio::join!(caretaker.follow(), caretaker.tidy_up());
}
