//! The provider: the contract, kept by calling the service.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use imagecache_cloud_http::Client;
use imagecache_cloud_http::text::given;
use imagecache_core::{CacheId, CacheKey, CacheProvider, CacheSpec, CacheState, Capabilities, Clock, PodPatch, Result};

use crate::NAME;
use crate::caches::Caches;
use crate::client::EciClient;
use crate::config::{AlibabaConfig, REGION_VARIABLE};
use crate::credential::{self, Environment};
use crate::eip::Addresses;
use crate::mark::Mark;
use crate::memory::{CONSISTENCY_WINDOW, Memory};
use crate::protocol::Acs3;

/// Annotation of a pod that names its cache (document "Use image caches"); pods on virtual nodes read it.
const IMC_ID_ANNOTATION: &str = "k8s.aliyun.com/eci-imc-id";

/// Keeps caches in Elastic Container Instance. Everything that lasts is in the service; dropping the provider loses nothing.
pub struct AlibabaProvider {
    caches: Caches,
}

impl AlibabaProvider {
    /// Checks `config` and prepares the connection; nothing is called yet.
    ///
    /// `owner` is who makes caches; the configured one wins over it. With an owner only that owner's caches are seen,
    /// without one, as on the command line, all that this program made.
    ///
    /// # Errors
    ///
    /// `InvalidSpec`, naming the key in the configuration, its value and the remedy.
    pub fn open(config: AlibabaConfig, owner: Option<String>, clock: Clock) -> Result<Self> {
        Self::with_environment(config, owner, clock, &Environment::snapshot())
    }

    /// Like [`open`](Self::open) with another environment than this process's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn with_environment(
        config: AlibabaConfig,
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
        let protocol = Acs3::new(config.endpoints()?);
        let patience = config.patience();
        let http = Arc::new(Client::new(protocol, credentials, config.http, Arc::clone(&clock)));
        let mark = Mark::new(given(&config.owner).or(owner));
        let addresses = Addresses::new(
            Arc::clone(&http),
            config.region.clone(),
            mark.clone(),
            Arc::clone(&clock),
        );
        let client = EciClient::new(http, config.region, config.page_size);
        Ok(Self {
            caches: Caches {
                client,
                addresses,
                mark,
                defaults: config.defaults,
                patience,
                clock,
                memory: Memory::new(CONSISTENCY_WINDOW),
            },
        })
    }
}

impl fmt::Debug for AlibabaProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlibabaProvider")
            .field("region", &self.caches.client.region())
            .field("mark", &self.caches.mark)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CacheProvider for AlibabaProvider {
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
        PodPatch::annotation(IMC_ID_ANNOTATION, id.as_str())
    }
}
