//! A provider with its registry, its disk and its clock under control.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use imagecache_conformance::{Fault, Harness};
use imagecache_core::{CacheKey, CacheProvider, CacheSpec, CacheState, Clock, ImageRef};
use imagecache_ebs::EbsStore;
use imagecache_fakes::ebs::FakeEbs;
use imagecache_fakes::image::{Compression, Image, LayerBuilder};
use imagecache_fakes::registry::{FakeRegistry, Fault as RegistryFault, FaultKind};
use imagecache_local::{LocalConfig, LocalProvider, StoreConfig, StoreKind};
use imagecache_oci::{Keyring, Puller, RetryPolicy};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes requests on to a registry while it is open.
pub struct Gate {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    pub async fn before(registry: &FakeRegistry) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, state) = watch::channel(false);
        let upstream = registry.host();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, upstream.clone(), state.clone()));
            }
        });
        Self { address, open }
    }

    pub fn set(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn pass(client: TcpStream, upstream: String, mut open: watch::Receiver<bool>) -> Option<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(upstream).await.ok()?.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = from_client.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        open.wait_for(|open| *open).await.ok()?;
        to_server.write_all(&buffer[..count]).await.ok()?;
    }
}

/// Few attempts and short waits, so that an outage shows at once.
pub fn retry() -> RetryPolicy {
    RetryPolicy {
        attempts: 2,
        base_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(2),
        ..RetryPolicy::default()
    }
}

/// A clock that tests move.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())))
    }

    pub fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || *now.lock().unwrap())
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
}

/// A provider over the store at `path`.
pub fn open(path: &Path, clock: Clock) -> Arc<LocalProvider> {
    open_with(path, clock, |_| {})
}

/// The same with other configuration.
pub fn open_with(path: &Path, clock: Clock, edit: impl FnOnce(&mut LocalConfig)) -> Arc<LocalProvider> {
    let (config, puller) = configured(path, edit);
    LocalProvider::with_puller(config, clock, puller).unwrap()
}

/// The same with snapshots in EBS.
pub fn open_on_ebs(path: &Path, clock: Clock, fake: &FakeEbs) -> Arc<LocalProvider> {
    let (config, puller) = configured(path, |config| config.store.kind = StoreKind::Ebs);
    let (endpoint, key) = (fake.endpoint(), fake.access_key());
    let snapshots = EbsStore::at_endpoint(config.ebs.clone(), &endpoint, fake.region(), key);
    LocalProvider::with_snapshots(config, clock, puller, Arc::new(snapshots)).unwrap()
}

fn configured(path: &Path, edit: impl FnOnce(&mut LocalConfig)) -> (LocalConfig, Puller) {
    let mut config = LocalConfig {
        store: StoreConfig {
            path: path.to_owned(),
            ..StoreConfig::default()
        },
        docker_config: false,
        ..LocalConfig::default()
    };
    edit(&mut config);
    let puller = Puller::new(config.registry.clone(), Keyring::default()).with_retry(retry());
    (config, puller)
}

/// A spec for one image under `host`.
pub fn spec(reference: &str) -> CacheSpec {
    CacheSpec::new(vec![ImageRef::parse(reference).unwrap()])
}

/// Builds a cache to its end and gives its state.
pub async fn build(provider: &LocalProvider, owner: &str, spec: &CacheSpec) -> CacheState {
    let key = CacheKey::new(owner, spec);
    provider.ensure(&key, spec).await.unwrap();
    provider.idle().await;
    provider.get(&key).await.unwrap().unwrap()
}

/// Bytes that no compression makes smaller.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// A provider behind a gate.
pub struct LocalHarness {
    registry: FakeRegistry,
    gate: Gate,
    clock: TestClock,
    directory: tempfile::TempDir,
    ebs: Option<FakeEbs>,
    provider: Mutex<Arc<LocalProvider>>,
    /// Builds of providers that are gone.
    earlier: AtomicU64,
}

impl LocalHarness {
    fn current(&self) -> Arc<LocalProvider> {
        Arc::clone(&self.provider.lock().unwrap())
    }

    fn reopen(&self) -> Arc<LocalProvider> {
        let (path, clock) = (self.directory.path(), self.clock.clock());
        match &self.ebs {
            Some(fake) => open_on_ebs(path, clock, fake),
            None => open(path, clock),
        }
    }
}

/// A harness for the conformance suite.
pub async fn harness() -> LocalHarness {
    harness_over(None).await
}

/// The same with snapshots in EBS.
pub async fn ebs_harness() -> LocalHarness {
    harness_over(Some(FakeEbs::start().await.unwrap())).await
}

async fn harness_over(ebs: Option<FakeEbs>) -> LocalHarness {
    let registry = FakeRegistry::start().await.unwrap();
    let shared = LayerBuilder::new()
        .dir("etc/", 0o755)
        .file("etc/os-release", b"ID=test", 0o644)
        .build(Compression::Gzip);
    for n in 0..4 {
        let own = LayerBuilder::new()
            .file(&format!("file-{n}"), &noise(n, 10_000), 0o644)
            .build(Compression::Gzip);
        registry.push("image", &n.to_string(), &Image::new(vec![shared.clone(), own]));
    }
    let gate = Gate::before(&registry).await;
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let opened = match &ebs {
        Some(fake) => open_on_ebs(directory.path(), clock.clock(), fake),
        None => open(directory.path(), clock.clock()),
    };
    LocalHarness {
        registry,
        gate,
        clock,
        directory,
        ebs,
        provider: Mutex::new(opened),
        earlier: AtomicU64::new(0),
    }
}

#[async_trait]
impl Harness for LocalHarness {
    fn provider(&self) -> Arc<dyn CacheProvider> {
        self.current()
    }

    async fn restart(&self) -> Arc<dyn CacheProvider> {
        let old = self.current();
        old.shut_down().await;
        self.earlier.fetch_add(old.builds_started(), Ordering::SeqCst);
        *self.provider.lock().unwrap() = self.reopen();
        self.current()
    }

    fn image(&self, n: usize) -> ImageRef {
        ImageRef::parse(&format!("{}/image:{n}", self.gate.address)).unwrap()
    }

    async fn finish_builds(&self) {
        self.gate.set(true);
        self.current().idle().await;
        self.gate.set(false);
        self.registry.heal();
    }

    fn inject(&self, fault: Fault) {
        let kind = match fault {
            Fault::ImageMissing => FaultKind::Status(404),
            Fault::Outage => FaultKind::Status(503),
        };
        self.registry.inject(RegistryFault::on("/manifests/", kind));
    }

    fn builds_started(&self) -> usize {
        (self.earlier.load(Ordering::SeqCst) + self.current().builds_started()) as usize
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn secrets(&self) -> Vec<String> {
        let keys = self.ebs.iter().flat_map(FakeEbs::secrets);
        keys.chain(["hunter2-in-a-spec".to_owned()]).collect()
    }
}
