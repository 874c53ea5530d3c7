//! A provider with its cloud and its clock under control.

use std::sync::Arc;

use async_trait::async_trait;
use imagecache_alibaba_eci::{AlibabaConfig, AlibabaProvider, Environment};
use imagecache_conformance::cloud::{CloudHarness, Opens};
pub use imagecache_conformance::cloud::{DEADLINE, OWNER, PASSWORD};
use imagecache_core::{CacheKey, CacheProvider, CacheSpec, CacheState, Clock};
use imagecache_fakes::eci::{CacheView, FakeEci};
use serde_json::{Value, json};

/// A cloud, and providers that use it.
#[derive(Clone)]
pub struct Cloud {
    pub fake: Arc<FakeEci>,
}

impl Cloud {
    pub async fn start() -> Self {
        Self {
            fake: Arc::new(FakeEci::start().await),
        }
    }

    /// The cloud's clock, so that both move together.
    pub fn clock(&self) -> Clock {
        let fake = Arc::clone(&self.fake);
        Arc::new(move || fake.now())
    }

    pub fn config(&self, changes: Value) -> AlibabaConfig {
        config(self.fake.region(), &self.fake.endpoint(), changes)
    }

    pub fn environment(&self) -> Environment {
        let (id, secret) = self.fake.access_key();
        Environment::from_iter([
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", id),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret),
        ])
    }

    pub fn open(&self) -> Arc<AlibabaProvider> {
        self.open_with(Some(OWNER), json!({}))
    }

    pub fn open_with(&self, owner: Option<&str>, changes: Value) -> Arc<AlibabaProvider> {
        let (config, environment) = (self.config(changes), self.environment());
        let owner = owner.map(str::to_owned);
        Arc::new(AlibabaProvider::with_environment(config, owner, self.clock(), &environment).unwrap())
    }

    /// The only cache there is.
    pub fn only_cache(&self) -> CacheView {
        let caches = self.fake.caches();
        let [one] = caches.as_slice() else {
            panic!("one cache expected, not {caches:?}")
        };
        one.clone()
    }
}

/// What a user of the cloud at `endpoint` would write, with rates that tests need not wait for.
pub fn config(region: &str, endpoint: &str, changes: Value) -> AlibabaConfig {
    let mut table = json!({
        "region": region,
        "endpoint": endpoint,
        "vpc_endpoint": endpoint,
        "sts_endpoint": endpoint,
        "http": {
            "attempt_timeout": "500ms",
            "total_timeout": "20s",
            "overall": "10000/s",
            "rates": {
                "CreateImageCache": "10000/s",
                "DescribeImageCaches": "10000/s",
                "UpdateImageCache": "10000/s",
                "DeleteImageCache": "10000/s",
                "ListUsage": "10000/s",
            },
        },
    });
    for (name, value) in changes.as_object().unwrap() {
        table[name] = value.clone();
    }
    serde_json::from_value(table).unwrap()
}

/// A spec for one image.
pub fn spec() -> CacheSpec {
    CacheSpec::new(vec!["registry.example.com/app/web:1.2.3".parse().unwrap()])
}

/// A key for a spec.
pub fn key(spec: &CacheSpec) -> CacheKey {
    CacheKey::new("e83a1c53-f663-11e9-a0d4-fa13fc175b32", spec)
}

/// A key with its spec, and a cache that is being built for it.
pub async fn begin(provider: &AlibabaProvider) -> (CacheKey, CacheSpec, CacheState) {
    let spec = spec();
    let key = key(&spec);
    let state = provider.ensure(&key, &spec).await.unwrap();
    (key, spec, state)
}

#[async_trait]
impl Opens for Cloud {
    async fn open_as(&self, owner: Option<&str>) -> Arc<dyn CacheProvider> {
        self.open_with(owner, json!({}))
    }
}

imagecache_conformance::faked_cloud! { Cloud { fakes: imagecache_fakes::eci, delete: "DeleteImageCache" } }

/// What the conformance suite drives.
pub async fn harness() -> CloudHarness<Cloud> {
    CloudHarness::new(Cloud::start().await).await
}
