//! The image-cache API: one function for each action.

use std::collections::BTreeMap;
use std::sync::Arc;

use imagecache_cloud_http::{Client, Effect};
use imagecache_core::ErrorKind;

use crate::error::ApiError;
use crate::params::Parameters;
use crate::protocol::{Product, RpcCall, Tc3};
use crate::rpc;
use crate::wire::{
    self, Acknowledged, CacheEntry, CachePage, CreateImageCache, CreatedCache, DescribeImageCaches, Suitable,
    UpdateImageCache,
};

/// The actions, for rates and errors.
pub(crate) const CREATE: &str = "CreateImageCache";
/// Lists caches.
pub(crate) const DESCRIBE: &str = "DescribeImageCaches";
/// Changes a cache, or builds its content anew.
pub(crate) const UPDATE: &str = "UpdateImageCache";
/// Removes caches.
pub(crate) const DELETE: &str = "DeleteImageCaches";
/// Tells which cache suits some images.
pub(crate) const MATCH: &str = "GetMostSuitableImageCache";

/// Far more pages than any account fills.
const MAX_PAGES: usize = 2_000;
/// Pages are numbered by how many caches come before, so a change while they are read shifts them: then they are read again,
/// this often at most.
const MAX_READINGS: usize = 3;
/// Caches that one call removes; the vendor names no number.
const DELETE_BATCH: usize = 20;

/// The image caches of Tencent Kubernetes Engine in one region.
pub(crate) struct TkeClient {
    http: Arc<Client<Tc3>>,
    region: String,
    page_size: u32,
}

impl TkeClient {
    /// A client for `region` that asks for pages of `page_size`.
    pub(crate) fn new(http: Arc<Client<Tc3>>, region: String, page_size: u32) -> Self {
        Self {
            http,
            region,
            page_size,
        }
    }

    /// The region.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Starts to build a cache. Each call makes another one.
    pub(crate) async fn create(&self, request: &CreateImageCache) -> Result<CreatedCache, ApiError> {
        let call = tke(CREATE, Effect::Once, request.parameters());
        rpc::call(&self.http, &call).await
    }

    /// One page of the caches that `filter` lets through.
    pub(crate) async fn describe_page(&self, filter: &DescribeImageCaches) -> Result<CachePage, ApiError> {
        let call = tke(DESCRIBE, Effect::Repeatable, filter.parameters());
        rpc::call(&self.http, &call).await
    }

    /// Every cache that `filter` lets through, each once.
    pub(crate) async fn describe_all(&self, filter: &DescribeImageCaches) -> Result<Vec<CacheEntry>, ApiError> {
        let mut entries = BTreeMap::new();
        for _ in 0..MAX_READINGS {
            if self.read_pages(filter, &mut entries).await? {
                break;
            }
        }
        Ok(entries.into_values().collect())
    }

    /// Reads all pages once; whether nothing changed meanwhile.
    async fn read_pages(
        &self,
        filter: &DescribeImageCaches,
        entries: &mut BTreeMap<String, CacheEntry>,
    ) -> Result<bool, ApiError> {
        let (mut offset, mut total) = (0, None);
        let mut still = true;
        for _ in 0..MAX_PAGES {
            let filter = DescribeImageCaches {
                limit: Some(self.page_size),
                offset: Some(offset),
                ..filter.clone()
            };
            let page = self.describe_page(&filter).await?;
            still &= *total.get_or_insert(page.total_count) == page.total_count;
            let count = u64::try_from(page.image_caches.len()).unwrap_or(u64::MAX);
            let named = |entry: CacheEntry| (entry.image_cache_id.clone(), entry);
            entries.extend(page.image_caches.into_iter().map(named));
            offset = offset.saturating_add(count);
            // The total may be missing; then a page that is not full is the last.
            if count == 0 || offset >= page.total_count && count < u64::from(self.page_size) {
                return Ok(still);
            }
            if offset >= page.total_count && page.total_count > 0 {
                return Ok(still);
            }
        }
        Err(ApiError::endless_pages(DESCRIBE, MAX_PAGES))
    }

    /// Builds a cache's content anew. Each call starts a build that is billed, so it is sent once.
    pub(crate) async fn update(&self, request: &UpdateImageCache) -> Result<(), ApiError> {
        let call = tke(UPDATE, Effect::Once, request.parameters());
        rpc::call::<Acknowledged>(&self.http, &call).await.map(drop)
    }

    /// Removes caches and their snapshots; those that are not there are fine.
    pub(crate) async fn delete(&self, ids: &[&str]) -> Result<(), ApiError> {
        for batch in ids.chunks(DELETE_BATCH) {
            match self.delete_batch(batch).await {
                // Whether the others of a batch are removed then is not documented.
                Err(error) if error.kind() == ErrorKind::NotFound && batch.len() > 1 => {
                    for id in batch {
                        absent_is_fine(self.delete_batch(&[id]).await)?;
                    }
                }
                other => absent_is_fine(other)?,
            }
        }
        Ok(())
    }

    async fn delete_batch(&self, ids: &[&str]) -> Result<(), ApiError> {
        let call = tke(DELETE, Effect::Repeatable, wire::delete_image_caches(ids));
        rpc::call::<Acknowledged>(&self.http, &call).await.map(drop)
    }

    /// The cache that the service would use for a Pod with these images.
    pub(crate) async fn most_suitable(&self, images: &[String]) -> Result<Option<CacheEntry>, ApiError> {
        let parameters = wire::most_suitable_image_cache(images, None);
        let call = tke(MATCH, Effect::Repeatable, parameters);
        let suitable: Suitable = rpc::call(&self.http, &call).await?;
        Ok(suitable.image_cache.filter(|_| suitable.found))
    }
}

fn absent_is_fine(outcome: Result<(), ApiError>) -> Result<(), ApiError> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn tke(action: &'static str, effect: Effect, parameters: Parameters) -> RpcCall {
    RpcCall {
        product: Product::Tke,
        action,
        effect,
        parameters,
    }
}
