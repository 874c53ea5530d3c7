//! A provider with its cloud and its clock under control.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use imagecache_conformance::cloud::{CloudHarness, Opens};
pub use imagecache_conformance::cloud::{DEADLINE, OWNER, PASSWORD};
use imagecache_core::{CacheKey, CacheProvider, CacheSpec, CacheState, Clock};
use imagecache_fakes::tke::{CacheView, FakeTke};
use imagecache_tencent_eks::{Environment, TencentConfig, TencentProvider};
use serde_json::{Value, json};

/// Longer than lists are believed to lag.
pub const LAG: Duration = Duration::from_secs(31);

/// A cloud, and providers that use it.
#[derive(Clone)]
pub struct Cloud {
    pub fake: Arc<FakeTke>,
}

impl Cloud {
    pub async fn start() -> Self {
        let fake = FakeTke::start().await;
        fake.set_rate(None);
        Self { fake: Arc::new(fake) }
    }

    /// The cloud's clock, so that both move together.
    pub fn clock(&self) -> Clock {
        let fake = Arc::clone(&self.fake);
        Arc::new(move || fake.now())
    }

    pub fn environment(&self) -> Environment {
        let (id, secret) = self.fake.access_key();
        Environment::from_iter([("TENCENTCLOUD_SECRET_ID", id), ("TENCENTCLOUD_SECRET_KEY", secret)])
    }

    /// A provider that has just started.
    pub fn start_provider(&self, owner: Option<&str>, changes: Value) -> Arc<TencentProvider> {
        let config = config(self.fake.region(), &self.fake.endpoint(), changes);
        let owner = owner.map(str::to_owned);
        let environment = self.environment();
        Arc::new(TencentProvider::with_environment(config, owner, self.clock(), &environment).unwrap())
    }

    /// A provider that has looked for long enough to create.
    pub async fn open_with(&self, owner: Option<&str>, changes: Value) -> Arc<TencentProvider> {
        let provider = self.start_provider(owner, changes);
        provider.get(&"warming-up".parse().unwrap()).await.unwrap();
        self.fake.advance(LAG);
        provider
    }

    pub async fn open(&self) -> Arc<TencentProvider> {
        self.open_with(Some(OWNER), json!({})).await
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
pub fn config(region: &str, endpoint: &str, changes: Value) -> TencentConfig {
    let mut table = json!({
        "region": region,
        "endpoint": endpoint,
        "sts_endpoint": endpoint,
        "defaults": {"vpc_id": "vpc-12345678", "subnet_id": "subnet-12345678"},
        "http": {
            "attempt_timeout": "500ms",
            "total_timeout": "20s",
            "rates": {
                "CreateImageCache": "10000/s",
                "DescribeImageCaches": "10000/s",
                "UpdateImageCache": "10000/s",
                "DeleteImageCaches": "10000/s",
                "GetMostSuitableImageCache": "10000/s",
            },
        },
    });
    for (name, value) in changes.as_object().unwrap() {
        match (table.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
            (Some(inner), Some(changed)) => inner.extend(changed.clone()),
            _ => table[name] = value.clone(),
        }
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
pub async fn begin(provider: &TencentProvider) -> (CacheKey, CacheSpec, CacheState) {
    let spec = spec();
    let key = key(&spec);
    let state = provider.ensure(&key, &spec).await.unwrap();
    (key, spec, state)
}

#[async_trait]
impl Opens for Cloud {
    async fn open_as(&self, owner: Option<&str>) -> Arc<dyn CacheProvider> {
        match owner {
            Some(_) => self.open_with(owner, json!({})).await,
            // The command line has no time to only look.
            None => self.start_provider(None, json!({})),
        }
    }
}

imagecache_conformance::faked_cloud! { Cloud { fakes: imagecache_fakes::tke, delete: "DeleteImageCaches" } }

/// What the conformance suite drives.
pub async fn harness() -> CloudHarness<Cloud> {
    CloudHarness::new(Cloud::start().await).await
}
