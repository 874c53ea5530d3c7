//! The image-cache API: one function for each action.

use std::collections::HashSet;
use std::sync::Arc;

use imagecache_cloud_http::{Client, Effect};

use crate::code::NO_NEED_UPDATE;
use crate::error::ApiError;
use crate::params::Parameters;
use crate::protocol::{Acs3, Product, RpcCall};
use crate::rpc;
use crate::wire::{
    Acknowledged, CacheEntry, CachePage, CreateImageCache, CreatedCache, DeleteImageCache, DescribeImageCaches,
    UpdateImageCache, Usage, UsageAttributes,
};

/// The actions, for rates and errors.
pub(crate) const CREATE: &str = "CreateImageCache";
/// Lists caches.
pub(crate) const DESCRIBE: &str = "DescribeImageCaches";
/// Changes a cache, or builds its content anew.
pub(crate) const UPDATE: &str = "UpdateImageCache";
/// Removes a cache.
pub(crate) const DELETE: &str = "DeleteImageCache";
/// Tells quotas.
pub(crate) const LIST_USAGE: &str = "ListUsage";

/// Far more pages than any quota of caches fills.
const MAX_PAGES: usize = 2_000;

/// Elastic Container Instance in one region.
pub(crate) struct EciClient {
    http: Arc<Client<Acs3>>,
    region: String,
    page_size: u32,
}

impl EciClient {
    /// A client for `region` that asks for pages of `page_size`.
    pub(crate) fn new(http: Arc<Client<Acs3>>, region: String, page_size: u32) -> Self {
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

    /// Starts to build a cache. With a token, calling it again gives the same cache.
    pub(crate) async fn create(&self, request: &CreateImageCache) -> Result<CreatedCache, ApiError> {
        let effect = match request.settings.client_token {
            Some(_) => Effect::Repeatable,
            None => Effect::Once,
        };
        let call = self.eci(CREATE, effect, request.parameters(&self.region));
        rpc::call(&self.http, &call).await
    }

    /// One page of the caches that `filter` lets through.
    pub(crate) async fn describe_page(&self, filter: &DescribeImageCaches) -> Result<CachePage, ApiError> {
        let call = self.eci(DESCRIBE, Effect::Repeatable, filter.parameters(&self.region));
        rpc::call(&self.http, &call).await
    }

    /// Every cache that `filter` lets through, each once: pages may shift while they are read.
    pub(crate) async fn describe_all(&self, filter: &DescribeImageCaches) -> Result<Vec<CacheEntry>, ApiError> {
        let mut filter = DescribeImageCaches {
            limit: Some(self.page_size),
            next_token: None,
            ..filter.clone()
        };
        let mut entries = Vec::new();
        let mut seen_tokens = HashSet::new();
        let mut seen_ids = HashSet::new();
        for _ in 0..MAX_PAGES {
            let page = self.describe_page(&filter).await?;
            let new = |entry: &CacheEntry| seen_ids.insert(entry.image_cache_id.clone());
            entries.extend(page.image_caches.into_iter().filter(new));
            if page.next_token.is_empty() {
                return Ok(entries);
            }
            if !seen_tokens.insert(page.next_token.clone()) {
                break;
            }
            filter.next_token = Some(page.next_token);
        }
        Err(ApiError::endless_pages(DESCRIBE, seen_tokens.len()))
    }

    /// Builds a cache's content anew or changes what is kept of it; nothing to change is a success.
    pub(crate) async fn update(&self, request: &UpdateImageCache) -> Result<(), ApiError> {
        let call = self.eci(UPDATE, Effect::Repeatable, request.parameters(&self.region));
        match rpc::call::<Acknowledged>(&self.http, &call).await {
            Err(error) if !error.is(NO_NEED_UPDATE) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a cache and its snapshot.
    pub(crate) async fn delete(&self, request: &DeleteImageCache) -> Result<(), ApiError> {
        let call = self.eci(DELETE, Effect::Repeatable, request.parameters(&self.region));
        rpc::call::<Acknowledged>(&self.http, &call).await.map(drop)
    }

    /// How many caches the account has and may have.
    pub(crate) async fn list_usage(&self) -> Result<UsageAttributes, ApiError> {
        let mut parameters = Parameters::new();
        parameters.set("RegionId", &self.region);
        let call = self.eci(LIST_USAGE, Effect::Repeatable, parameters);
        Ok(rpc::call::<Usage>(&self.http, &call).await?.attributes)
    }

    fn eci(&self, action: &'static str, effect: Effect, parameters: Parameters) -> RpcCall {
        RpcCall {
            product: Product::Eci,
            action,
            effect,
            parameters,
        }
    }
}
