//! Finds caches that we made for objects that are gone, and removes them: nobody would ever use or delete them, and a cloud
//! bills them.
//!
//! An object's finalizer normally sees to its caches. Orphans come from finalizers that somebody removed, and from
//! clusters whose resource definitions were deleted in a hurry.

use std::collections::HashSet;
use std::time::Duration;

use imagecache_core::CacheProvider;
use imagecache_k8s_api::{ImageCacheDialect, alibaba, tencent};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::Instant;
use tracing::{info, warn};

use super::context::Shared;
use super::states::Owner;

/// Between two searches, which list every object.
const INTERVAL: Duration = Duration::from_secs(60);
/// Objects a page.
const PAGE: u32 = 500;

/// Searches now and then.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    last: Option<Instant>,
}

impl Sweeper {
    /// Removes caches without an object, if there seem to be any and the last search is long enough ago.
    pub(super) async fn sweep(&mut self, provider: &dyn CacheProvider, shared: &Shared) {
        if !provider.capabilities().marks_owner || self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        // Taken before the objects are listed: a cache that is made meanwhile has an object that is listed or newer.
        let candidates = shared.states.unclaimed();
        if candidates.is_empty() {
            return;
        }
        self.last = Some(Instant::now());
        let living = match living(&shared.client).await {
            Ok(living) => living,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "cannot list all ImageCaches, so no orphaned cache is removed now"
                );
                return;
            }
        };
        for owner in candidates.into_iter().filter(|owner| !living.contains(owner)) {
            for key in shared.states.keys(&owner) {
                let result = provider.delete(&key).await;
                shared.metrics.provider_call("delete", result.as_ref().err());
                match result {
                    Ok(()) => {
                        info!(%key, "removed a cache whose object is gone");
                        shared.states.removed(&key);
                    }
                    Err(error) => warn!(
                        error = &error as &dyn std::error::Error,
                        %key,
                        "cannot remove a cache whose object is gone"
                    ),
                }
            }
        }
    }
}

/// Owners of all objects of both kinds. A kind that is not installed is an error: its objects may be back in a minute.
async fn living(client: &Client) -> Result<HashSet<Owner>, kube::Error> {
    let mut owners = HashSet::new();
    owners_of::<alibaba::ImageCache>(client, &mut owners).await?;
    owners_of::<tencent::ImageCache>(client, &mut owners).await?;
    Ok(owners)
}

async fn owners_of<K: ImageCacheDialect>(client: &Client, owners: &mut HashSet<Owner>) -> Result<(), kube::Error> {
    let objects: Api<K> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = objects.list_metadata(&params).await?;
        owners.extend(
            page.items
                .iter()
                .filter_map(|object| object.uid())
                .map(|uid| Owner::of_uid(&uid)),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
