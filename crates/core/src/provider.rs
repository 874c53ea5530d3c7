//! The contract that every provider keeps.

use std::fmt;

use async_trait::async_trait;

use crate::{CacheId, CacheKey, CacheSpec, CacheState, PodPatch, Result};

/// A backend that turns container images into a snapshot which nodes can start from.
///
/// Every implementation passes `imagecache_conformance`, one named case for each line below. Calls return in seconds:
/// long work goes on in the background and is reported through [`CacheState`], never awaited here.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait CacheProvider: fmt::Debug + Send + Sync + 'static {
    /// Stable name used in config, metric labels and status.
    fn name(&self) -> &'static str;

    /// What this provider can honour; a spec that asks for anything else is refused with `Unsupported`.
    fn capabilities(&self) -> Capabilities;

    /// Makes sure that a cache for `key` exists or is being built, and tells its state.
    ///
    /// - Calling it again with the same key never starts a second build.
    /// - A spec that can never work is refused with `InvalidSpec`, one that this provider cannot honour with
    ///   `Unsupported`; nothing is created then.
    /// - After a failed build it reports `Failed`; it does not rebuild by itself.
    /// - A `Stalled` build goes on from what was finished.
    async fn ensure(&self, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState>;

    /// Reads the current state.
    ///
    /// - An unknown key is `Ok(None)`, not an error; so is a key that was deleted or has expired.
    async fn get(&self, key: &CacheKey) -> Result<Option<CacheState>>;

    /// Removes the cache and its snapshot.
    ///
    /// - Removing what is not there is `Ok`.
    /// - A running build ends; nothing of it comes back.
    /// - Other caches keep all their content.
    async fn delete(&self, key: &CacheKey) -> Result<()>;

    /// Lists the state of every cache that carries our ownership mark, and only those.
    ///
    /// - States, not keys: one call an interval watches every cache.
    /// - What `list` tells of a cache agrees with what `get` tells.
    async fn list(&self) -> Result<Vec<CacheState>>;

    /// What a pod must say so that it uses the cache `id`. Pure: nothing is looked up.
    ///
    /// - It names the cache in this provider's own form, whichever dialect the pod was written in.
    /// - The same id always gives the same patch.
    fn bind(&self, id: &CacheId) -> PodPatch;
}

const _: fn(&dyn CacheProvider) = |_| (); // stays usable as `Arc<dyn CacheProvider>`

/// What a provider can honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A platform other than the default can be chosen in the spec.
    pub platform_choice: bool,
    /// Registries can be reached over plain HTTP, or without checking their certificate, as the spec says.
    pub registry_transport: bool,
    /// The build stops when this process does, so a command that only starts it would achieve nothing.
    pub builds_in_process: bool,
    /// It reads [`CacheSpec::options`]; for any other provider nobody needs to gather them.
    pub build_options: bool,
    /// What `list` tells was made by this installation and by nobody else, so a cache that belongs to no object is an orphan
    /// and may be removed.
    pub marks_owner: bool,
}
