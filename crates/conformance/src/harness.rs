//! What the suite needs to drive a provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use imagecache_core::{CacheKey, CacheProvider, CacheSpec, ImageRef, Phase};

/// What goes wrong with the next build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An image does not exist: the build fails for good.
    ImageMissing,
    /// Something is down long enough to end the build: it stalls.
    Outage,
}

/// One provider with its surroundings under control. Builds wait at the start until [`finish_builds`](Self::finish_builds).
#[async_trait]
pub trait Harness: Send + Sync {
    /// The provider under test; always the same instance until [`restart`](Self::restart).
    fn provider(&self) -> Arc<dyn CacheProvider>;

    /// Drops the provider as a crash would, and opens it again over the same state. Builds under way may be lost.
    async fn restart(&self) -> Arc<dyn CacheProvider>;

    /// The `n`-th image that can be cached; different images for different `n`, at least 3 of them.
    fn image(&self, n: usize) -> ImageRef;

    /// Lets every running build go on, and returns when none is running.
    async fn finish_builds(&self);

    /// Makes the next build that goes on fail in this way, once.
    fn inject(&self, fault: Fault);

    /// How many builds were started so far, as the backend saw it.
    fn builds_started(&self) -> usize;

    /// Moves the provider's clock forward.
    fn advance(&self, by: Duration);

    /// A spec for the `n`-th image with every option at its default.
    fn spec(&self, n: usize) -> CacheSpec {
        CacheSpec::new(vec![self.image(n)])
    }

    /// Every secret in play; none may ever be printed.
    fn secrets(&self) -> Vec<String>;
}

/// Ensures and finishes a build, and gives the phase it ended in.
pub(crate) async fn build(harness: &dyn Harness, key: &CacheKey, spec: &CacheSpec) -> Phase {
    harness.provider().ensure(key, spec).await.expect("ensure");
    harness.finish_builds().await;
    harness
        .provider()
        .get(key)
        .await
        .expect("get")
        .expect("the cache exists")
        .phase
}
