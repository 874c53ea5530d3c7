//! What reconcile passes share.

use std::sync::Arc;

use imagecache_core::{CacheProvider, Clock, Failure};
use imagecache_k8s_api::ImageCacheDialect;
use kube::Client;

use crate::cost_config::CostHints;

use super::events::Publisher;
use super::memo::Memos;
use super::metrics::Metrics;
use super::profile::Profiles;
use super::secrets::PullSecretPolicy;
use super::states::{States, Wake};
use crate::catalog::Catalog;

/// What all passes share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) provider: Arc<dyn CacheProvider>,
    pub(super) states: States,
    /// The same states, for pods; behind them by moments.
    pub(super) catalog: Arc<Catalog>,
    pub(super) pull_secrets: PullSecretPolicy,
    pub(super) profiles: Arc<Profiles>,
    pub(super) cost: Option<CostHints>,
    pub(super) publisher: Publisher,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// What all passes over one kind of object share.
pub(super) struct Context<K: ImageCacheDialect> {
    pub(super) shared: Arc<Shared>,
    pub(super) memos: Memos<K::Status>,
    pub(super) wake: Wake,
}

/// Why a pass has to be repeated. What is wrong with the object or the provider is no error here: its status says so.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    /// The API server refused a write.
    #[error("cannot write to the API server")]
    Api(#[from] kube::Error),
    /// A cache of a deleted object could not be removed.
    #[error("cannot remove a cache of a deleted object: {}", .0.message)]
    Cleanup(Failure),
    /// The provider has not listed its caches yet.
    #[error("the provider has not listed its caches yet")]
    Waiting,
}
