//! What reconcile passes share.

use std::sync::Arc;

use imagecache_core::{CacheProvider, Clock, Failure};
use imagecache_k8s_api::ImageCacheDialect;
use kube::Client;

use super::events::Publisher;
use super::memo::Memos;
use super::metrics::Metrics;
use super::secrets::PullSecretPolicy;
use super::states::{States, Wake};

/// What all passes share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) provider: Arc<dyn CacheProvider>,
    pub(super) states: States,
    pub(super) pull_secrets: PullSecretPolicy,
    pub(super) eci_profile: bool,
    pub(super) publisher: Publisher,
    pub(super) metrics: Metrics,
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
