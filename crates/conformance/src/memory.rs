//! A provider that keeps its caches in memory: the reference for the suite, and a stand-in for tests of the controller.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use imagecache_core::{
    CACHE_ID_ANNOTATION, CacheEvent, CacheId, CacheKey, CacheProvider, CacheSpec, CacheState, Capabilities, ErrorKind,
    EventSeverity, Failure, ImageRef, Phase, PodPatch, Progress, Result, Retention,
};
use jiff::Timestamp;

use crate::{Fault, Harness};

/// Its name in config, metrics and status.
const NAME: &str = "memory";

/// A [`CacheProvider`] whose builds go on only when a test says so. Clones share their state.
#[derive(Clone)]
pub struct MemoryProvider {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    caches: BTreeMap<CacheKey, Entry>,
    faults: Vec<Fault>,
    specs: Vec<CacheSpec>,
    lists: usize,
    now: Timestamp,
}

struct Entry {
    state: CacheState,
    retention: Retention,
}

impl Default for MemoryProvider {
    fn default() -> Self {
        let shared = Shared {
            caches: BTreeMap::new(),
            faults: Vec::new(),
            specs: Vec::new(),
            lists: 0,
            // Any fixed day will do; tests move it.
            now: Timestamp::from_second(1_767_225_600).expect("a timestamp"),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }
}

impl MemoryProvider {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics while it holds the lock")
    }

    /// Moves every running build to `progress` without finishing it.
    pub fn advance_builds(&self, progress: Progress) {
        let mut shared = self.lock();
        let now = shared.now;
        for entry in shared
            .caches
            .values_mut()
            .filter(|entry| is_running(&entry.state.phase))
        {
            entry.state.phase = Phase::Creating;
            entry.state.progress = progress;
            entry.state.updated_at = now;
        }
    }

    /// Lets every running build say what it does.
    pub fn say(&self, activity: &str) {
        let mut shared = self.lock();
        let running = shared
            .caches
            .values_mut()
            .filter(|entry| is_running(&entry.state.phase));
        running.for_each(|entry| entry.state.activity = Some(activity.to_owned()));
    }

    /// Finishes every running build, the first ones with the faults that were injected.
    pub fn finish_builds(&self) {
        let mut shared = self.lock();
        let now = shared.now;
        let mut faults = std::mem::take(&mut shared.faults).into_iter();
        for entry in shared
            .caches
            .values_mut()
            .filter(|entry| is_running(&entry.state.phase))
        {
            let fault = faults.next();
            finish(entry, fault, now);
        }
        shared.faults = faults.collect();
    }

    /// Makes the next build to finish fail in this way.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Builds started so far.
    pub fn builds_started(&self) -> usize {
        self.lock().specs.len()
    }

    /// The specs of all builds that were started, in order.
    pub fn specs(&self) -> Vec<CacheSpec> {
        self.lock().specs.clone()
    }

    /// How often `list` was called.
    pub fn lists(&self) -> usize {
        self.lock().lists
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut shared = self.lock();
        shared.now = shared.now.checked_add(by).expect("a timestamp");
    }
}

fn is_running(phase: &Phase) -> bool {
    matches!(phase, Phase::Pending | Phase::Creating)
}

fn finish(entry: &mut Entry, fault: Option<Fault>, now: Timestamp) {
    let state = &mut entry.state;
    state.updated_at = now;
    let image = state.images.first().map(ImageRef::to_string).unwrap_or_default();
    let (phase, severity, reason, message) = match fault {
        None => (
            Phase::Ready,
            EventSeverity::Normal,
            "Ready",
            "every image is cached".to_owned(),
        ),
        Some(Fault::ImageMissing) => {
            let message = format!("image `{image}` does not exist");
            let failure = Failure {
                kind: ErrorKind::NotFound,
                message: message.clone(),
            };
            (Phase::Failed(failure), EventSeverity::Warning, "NotFound", message)
        }
        Some(Fault::Outage) => {
            let message = format!("registry of `{image}` does not answer");
            let failure = Failure {
                kind: ErrorKind::Unavailable,
                message: message.clone(),
            };
            (Phase::Stalled(failure), EventSeverity::Warning, "Unavailable", message)
        }
    };
    if phase == Phase::Ready {
        state.progress = Progress::DONE;
    }
    let failed_at = matches!(phase, Phase::Failed(_)).then_some(now);
    state.expires_at = entry.retention.expires_at(state.created_at, failed_at);
    state.phase = phase;
    state.push_event(CacheEvent::new(severity, reason, message, now));
}

impl Shared {
    fn forget_expired(&mut self) {
        let now = self.now;
        self.caches.retain(|_, entry| {
            is_running(&entry.state.phase) || entry.state.expires_at.is_none_or(|expiry| expiry > now)
        });
    }
}

/// Shows how many caches there are, not what they hold.
impl fmt::Debug for MemoryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryProvider")
            .field("caches", &self.lock().caches.len())
            .finish()
    }
}

#[async_trait]
impl CacheProvider for MemoryProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            platform_choice: true,
            registry_transport: true,
            builds_in_process: false,
            build_options: true,
            marks_owner: true,
        }
    }

    async fn ensure(&self, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState> {
        spec.validate(NAME)?;
        let mut shared = self.lock();
        shared.forget_expired();
        let now = shared.now;
        if let Some(entry) = shared.caches.get_mut(key) {
            if matches!(entry.state.phase, Phase::Stalled(_)) {
                entry.state.phase = Phase::Pending;
                entry.state.updated_at = now;
            }
            return Ok(entry.state.clone());
        }
        shared.specs.push(spec.clone());
        let state = CacheState::requested(key, spec, now);
        shared.caches.insert(
            key.clone(),
            Entry {
                state: state.clone(),
                retention: spec.retention,
            },
        );
        Ok(state)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheState>> {
        let mut shared = self.lock();
        shared.forget_expired();
        Ok(shared.caches.get(key).map(|entry| entry.state.clone()))
    }

    async fn delete(&self, key: &CacheKey) -> Result<()> {
        self.lock().caches.remove(key);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<CacheState>> {
        let mut shared = self.lock();
        shared.lists += 1;
        shared.forget_expired();
        Ok(shared.caches.values().map(|entry| entry.state.clone()).collect())
    }

    fn bind(&self, id: &CacheId) -> PodPatch {
        PodPatch::annotation(CACHE_ID_ANNOTATION, id.as_str())
    }
}

/// Drives a [`MemoryProvider`].
#[derive(Default)]
pub struct MemoryHarness(MemoryProvider);

#[async_trait]
impl Harness for MemoryHarness {
    fn provider(&self) -> Arc<dyn CacheProvider> {
        Arc::new(self.0.clone())
    }

    async fn restart(&self) -> Arc<dyn CacheProvider> {
        self.provider()
    }

    fn image(&self, n: usize) -> ImageRef {
        format!("registry.example.com/image:{n}").parse().expect("a reference")
    }

    async fn finish_builds(&self) {
        self.0.finish_builds();
    }

    fn inject(&self, fault: Fault) {
        self.0.inject(fault);
    }

    fn builds_started(&self) -> usize {
        self.0.builds_started()
    }

    fn advance(&self, by: Duration) {
        self.0.advance(by);
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2-in-memory".to_owned()]
    }
}
