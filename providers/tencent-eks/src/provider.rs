//! The provider: the contract, kept by calling the service.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use imagecache_cloud_http::Client;
use imagecache_cloud_http::text::given;
use imagecache_core::{
    CacheId, CacheKey, CacheProvider, CacheSpec, CacheState, Capabilities, Clock, ImageRef, PodPatch, Result,
};
use jiff::SignedDuration;

use crate::NAME;
use crate::caches::{Caches, SuitableCache};
use crate::client::TkeClient;
use crate::config::{REGION_VARIABLE, TencentConfig};
use crate::credential::{self, Environment};
use crate::mark::Mark;
use crate::memory::Memory;
use crate::protocol::Tc3;

/// Annotation of a pod that names its cache (document "Annotation"); pods on super nodes read it.
const USE_IMAGE_CACHE_ANNOTATION: &str = "eks.tke.cloud.tencent.com/use-image-cache";

/// Keeps caches in Tencent Kubernetes Engine. Everything that lasts is in the service; dropping the provider loses nothing.
pub struct TencentProvider {
    caches: Caches,
}

impl TencentProvider {
    /// Checks `config` and prepares the connection; nothing is called yet.
    ///
    /// `owner` is who makes caches; the configured one wins over it. With an owner only that owner's caches are seen,
    /// without one, as on the command line, all that this program made.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`, naming the key in the configuration, its value and the remedy.
    pub fn open(config: TencentConfig, owner: Option<String>, clock: Clock) -> Result<Self> {
        Self::with_environment(config, owner, clock, &Environment::snapshot())
    }

    /// Like [`open`](Self::open) with another environment than this process's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn with_environment(
        config: TencentConfig,
        owner: Option<String>,
        clock: Clock,
        environment: &Environment,
    ) -> Result<Self> {
        let mut config = config.checked(environment.text(REGION_VARIABLE))?;
        if let Some(endpoint) = given(&config.sts_endpoint) {
            config.credentials.sts_endpoint = Some(endpoint);
        }
        let chain = credential::chain(&config.credentials, environment, &config.region, config.network, &clock);
        let credentials = Arc::new(chain.map_err(|error| error.refused(NAME))?);
        let protocol = Tc3::new(config.endpoints()?, config.region.clone());
        let patience = config.patience();
        let lag = SignedDuration::try_from(config.listing_lag).unwrap_or(SignedDuration::MAX);
        let http = Arc::new(Client::new(protocol, credentials, config.http, Arc::clone(&clock)));
        Ok(Self {
            caches: Caches {
                client: TkeClient::new(http, config.region, config.page_size),
                mark: Mark::new(given(&config.owner).or(owner)),
                defaults: config.defaults,
                patience,
                clock,
                memory: Memory::new(lag),
                first_look: OnceLock::new(),
            },
        })
    }

    /// The cache that the service itself would use for a Pod with these images, whoever made it.
    ///
    /// # Errors
    ///
    /// What the service refused, or why it was not reached.
    pub async fn most_suitable(&self, images: &[ImageRef]) -> Result<Option<SuitableCache>> {
        self.caches.most_suitable(images).await
    }
}

impl fmt::Debug for TencentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TencentProvider")
            .field("region", &self.caches.client.region())
            .field("mark", &self.caches.mark)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CacheProvider for TencentProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            platform_choice: false,
            registry_transport: true,
            builds_in_process: false,
            build_options: true,
            marks_owner: self.caches.mark.is_exclusive(),
        }
    }

    async fn ensure(&self, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState> {
        self.caches.ensure(key, spec).await
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheState>> {
        self.caches.get(key).await
    }

    async fn delete(&self, key: &CacheKey) -> Result<()> {
        self.caches.delete(key).await
    }

    async fn list(&self) -> Result<Vec<CacheState>> {
        self.caches.list().await
    }

    fn bind(&self, id: &CacheId) -> PodPatch {
        PodPatch::annotation(USE_IMAGE_CACHE_ANNOTATION, id.as_str())
    }
}
