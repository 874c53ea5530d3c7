//! The provider: which builds run here, and what the store knows of all others.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use imagecache_blocks::{CacheRecord, DirectoryStore, Durability, LockGuard, RecordChange, SnapshotStore, SpecRecord};
use imagecache_core::{
    CACHE_ID_ANNOTATION, CacheId, CacheKey, CacheProvider, CacheSpec, CacheState, Capabilities, Clock, Error,
    ErrorKind, Failure, Phase, Platform, PodPatch, Result,
};
use imagecache_oci::{ImageSource, Keyring, Puller, SessionOptions};

use crate::NAME;
use crate::build::{self, BuildInput};
use crate::config::LocalConfig;
use crate::failure::store_error;
use crate::shelf::Shelf;
use crate::tracker::Tracker;

/// What is said of a build that nobody carries on.
const INTERRUPTED: &str =
    "the build was interrupted; it goes on from the layers that were finished when it is asked for again";

/// Builds caches in this process and keeps them in a directory store. Dropping it ends its builds as a crash would.
pub struct LocalProvider {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: DirectoryStore,
    pub(crate) shelf: Arc<Shelf>,
    clock: Clock,
    config: LocalConfig,
    sources: Vec<ImageSource>,
    puller: Puller,
    /// Builds of this process, by cache. Finished ones stay until they are looked at.
    builds: Mutex<HashMap<CacheId, Arc<Tracker>>>,
    /// Records as they were last read, with what tells whether the file changed.
    seen: Mutex<HashMap<CacheId, (FileMark, CacheRecord)>>,
    started: AtomicU64,
    /// Held while a build is started, so that many callers at once start one.
    starting: Mutex<()>,
}

/// A build that has to be run, and its lock unless another one is still ending.
type Started = (Arc<Tracker>, Option<LockGuard>);

/// A new record is always a new file.
type FileMark = (u64, i64, i64);

impl fmt::Debug for LocalProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalProvider")
            .field("store", &self.inner.store.root())
            .finish_non_exhaustive()
    }
}

impl LocalProvider {
    /// Opens the store that `config` names and removes what dead builds left in it.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` for a bad source or login file, `Unsupported` when the directory is no store of ours, and what the
    /// disk says.
    pub fn open(config: LocalConfig, clock: Clock) -> Result<Arc<Self>> {
        let sources = parse_sources(&config)?;
        let keyring = if config.docker_config {
            Keyring::from_user_config()?
        } else {
            Keyring::default()
        };
        let puller = Puller::new(config.registry.clone(), keyring);
        Self::start(config, clock, puller, sources, None)
    }

    /// Like [`open`](Self::open) with a puller of the caller's: other time limits, other logins.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn with_puller(config: LocalConfig, clock: Clock, puller: Puller) -> Result<Arc<Self>> {
        let sources = parse_sources(&config)?;
        Self::start(config, clock, puller, sources, None)
    }

    /// Like [`with_puller`](Self::with_puller), keeping finished snapshots in `snapshots` besides the directory.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn with_snapshots(
        config: LocalConfig,
        clock: Clock,
        puller: Puller,
        snapshots: Arc<dyn SnapshotStore>,
    ) -> Result<Arc<Self>> {
        let sources = parse_sources(&config)?;
        let shelf = Shelf::over(snapshots, config.store.kind);
        Self::start(config, clock, puller, sources, Some(shelf))
    }

    fn start(
        config: LocalConfig,
        clock: Clock,
        puller: Puller,
        sources: Vec<ImageSource>,
        shelf: Option<Shelf>,
    ) -> Result<Arc<Self>> {
        let store = DirectoryStore::open(&config.store.path).map_err(|error| store_error("open", error))?;
        // Records that cannot be read stop the collection; `verify` names them.
        if let Err(error) = store.collect_garbage() {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot clean the store up");
        }
        let shelf = shelf.unwrap_or_else(|| Shelf::new(&config, &store));
        let inner = Arc::new(Inner {
            store,
            shelf: Arc::new(shelf),
            clock,
            config,
            sources,
            puller,
            builds: Mutex::default(),
            seen: Mutex::default(),
            started: AtomicU64::new(0),
            starting: Mutex::default(),
        });
        Ok(Arc::new(Self { inner }))
    }

    /// The store.
    pub fn store(&self) -> &DirectoryStore {
        &self.inner.store
    }

    /// How many builds this provider started since it was opened, resumed ones included.
    pub fn builds_started(&self) -> u64 {
        self.inner.started.load(Ordering::Relaxed)
    }

    /// Returns when no build of this process runs any more.
    pub async fn idle(&self) {
        loop {
            let running = self
                .inner
                .builds()
                .values()
                .find(|tracker| !tracker.is_finished())
                .cloned();
            match running {
                Some(tracker) => tracker.finished().await,
                None => return,
            }
        }
    }

    /// Ends the builds of this process without writing anything more, as a crash would, and waits until they ended.
    /// `ensure` resumes them.
    pub async fn shut_down(&self) {
        self.inner.builds().values().for_each(|tracker| tracker.cancel());
        self.idle().await;
    }

    /// Runs store work off the runtime's threads.
    async fn block<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> imagecache_blocks::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result.map_err(|error| store_error(operation, error)),
            Err(error) => Err(Error::new(ErrorKind::Internal, NAME, operation, "a task died").with_source(error)),
        }
    }
}

impl Inner {
    fn builds(&self) -> MutexGuard<'_, HashMap<CacheId, Arc<Tracker>>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The build of this process that is under way for a cache.
    fn running(&self, id: &CacheId) -> Option<Arc<Tracker>> {
        let mut builds = self.builds();
        if builds
            .get(id)
            .is_some_and(|tracker| tracker.is_finished() && !tracker.is_unsaved())
        {
            builds.remove(id);
        }
        builds
            .get(id)
            .filter(|tracker| !tracker.is_cancelled() && !tracker.is_finished())
            .cloned()
    }

    /// How the build with this record ended, if that could not be written down.
    fn unsaved(&self, record: &CacheRecord) -> Option<CacheState> {
        let tracker = self
            .builds()
            .get(&record.state.id)
            .filter(|tracker| tracker.is_unsaved())
            .cloned()?;
        Some(tracker.record())
            .filter(|ended| ended.build == record.build)
            .map(|ended| ended.state)
    }

    /// Reads a record, from memory if its file is still the same. Blocks, for a moment.
    fn read(&self, id: &CacheId) -> imagecache_blocks::Result<Option<CacheRecord>> {
        let mark = fs::metadata(self.store.record_path(id))
            .ok()
            .map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mark) = mark else {
            seen.remove(id);
            return Ok(None);
        };
        if let Some((known, record)) = seen.get(id)
            && *known == mark
        {
            return Ok(Some(record.clone()));
        }
        drop(seen);
        let record = self.store.record(id)?;
        if let Some(record) = &record {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(id.clone(), (mark, record.clone()));
        }
        Ok(record)
    }

    /// What users see of a cache; `None` when there is none, or none any more. Blocks, for a moment.
    fn state(&self, id: &CacheId) -> imagecache_blocks::Result<Option<CacheState>> {
        // A build that is done counts as Ready once that is written down: whoever hears of it may end this process.
        let building = self.running(id).map(|tracker| tracker.state());
        if let Some(state) = building.filter(|state| state.phase != Phase::Ready) {
            return Ok(Some(state).filter(|state| !self.is_expired(state)));
        }
        let Some(record) = self.read(id)? else { return Ok(None) };
        let mut state = record.state;
        if self.is_expired(&state) {
            self.remove_expired(id)?;
            return Ok(None);
        }
        if is_building(&state) && self.running(id).is_none() && !self.store.is_cache_locked(id)? {
            // Looked at once more: the build may have ended between our reading and our looking.
            match self.store.record(id)? {
                None => return Ok(None),
                Some(record) if !is_building(&record.state) => return Ok(Some(record.state)),
                Some(record) => {
                    if let Some(ended) = self.unsaved(&record) {
                        return Ok(Some(ended));
                    }
                }
            }
            state.phase = Phase::Stalled(Failure {
                kind: ErrorKind::Unavailable,
                message: INTERRUPTED.to_owned(),
            });
            state.activity = None;
            state.layers.clear();
        }
        Ok(Some(state))
    }

    fn is_expired(&self, state: &CacheState) -> bool {
        state.expires_at.is_some_and(|at| at <= (self.clock)())
    }

    fn remove_expired(&self, id: &CacheId) -> imagecache_blocks::Result<()> {
        let expired = |record: &CacheRecord| self.is_expired(&record.state);
        let removed = self.store.update_record(id, |record| match record {
            Some(record) if expired(&record) => (RecordChange::Remove, true),
            _ => (RecordChange::Keep, false),
        })?;
        if removed {
            // Elsewhere later: this is asked often, and must not wait for a network.
            self.shelf.soil();
            self.store.collect_garbage()?;
        }
        Ok(())
    }

    /// Removes the record first, so that nothing can come back; then what only this cache used. Blocks.
    fn remove(&self, id: &CacheId) -> imagecache_blocks::Result<()> {
        if let Some(tracker) = self.builds().get(id) {
            tracker.cancel();
        }
        self.store.update_record(id, |_| (RecordChange::Remove, ()))?;
        self.shelf.soil();
        self.shelf.collect(&self.store)
    }

    /// Starts or finds the build of a cache; the second value is a build that has to be run. Blocks, for a moment.
    fn begin(&self, key: &CacheKey, spec: &CacheSpec) -> imagecache_blocks::Result<(CacheState, Option<Started>)> {
        let id = CacheId::for_key(key);
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.state(&id) {
            Ok(Some(state)) if !matches!(state.phase, Phase::Stalled(_)) => return Ok((state, None)),
            Ok(_) => {}
            // A record that cannot be read is replaced: what it used is found again by digest.
            Err(imagecache_blocks::Error::Damaged { path, reason }) => {
                tracing::warn!(path = %path.display(), reason, "a damaged cache record is replaced");
            }
            Err(error) => return Err(error),
        }
        let now = (self.clock)();
        let mark = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        // Held from before the record says "Pending", so that nobody takes the build for an interrupted one. When a
        // deleted build still ends somewhere, the new one waits for it.
        let lock = self.store.try_lock_cache(&id)?;
        let (record, mine) = self.store.update_record(&id, |current| {
            let resumed = match current {
                Some(record) if self.is_expired(&record.state) => None,
                Some(record) if is_building(&record.state) && lock.is_none() => {
                    return (RecordChange::Keep, (record, false));
                }
                Some(record) if matches!(record.state.phase, Phase::Ready | Phase::Failed(_)) => {
                    return (RecordChange::Keep, (record, false));
                }
                other => other,
            };
            let record = match resumed {
                Some(mut record) => {
                    record.state.phase = Phase::Pending;
                    record.state.activity = None;
                    record.state.updated_at = now;
                    record.state.expires_at = record.spec.retention.expires_at(record.state.created_at, None);
                    record.build = mark;
                    record
                }
                None => CacheRecord::new(CacheState::requested(key, spec, now), SpecRecord::from(spec), mark),
            };
            (
                RecordChange::Write(Box::new(record.clone()), Durability::Durable),
                (record, true),
            )
        })?;
        let state = record.state.clone();
        if !mine {
            return Ok((state, None));
        }
        let tracker = Arc::new(Tracker::new(
            self.store.clone(),
            Arc::clone(&self.clock),
            record,
            build::layers_percent(&self.shelf),
        ));
        self.builds().insert(id, Arc::clone(&tracker));
        Ok((state, Some((tracker, lock))))
    }

    fn input(&self, spec: &CacheSpec) -> BuildInput {
        let session = self.puller.session(SessionOptions {
            credentials: spec.credentials.clone(),
            plain_http_registries: spec.plain_http_registries.clone(),
            insecure_registries: spec.insecure_registries.clone(),
        });
        let platform = spec
            .platform
            .clone()
            .or_else(|| self.config.platform.clone())
            .unwrap_or_else(Platform::host);
        BuildInput {
            session,
            platform,
            sources: self.sources.clone(),
            limits: self.config.limits.clone(),
            concurrency: self.config.effective_concurrency(),
            shelf: Arc::clone(&self.shelf),
        }
    }
}

impl Drop for LocalProvider {
    fn drop(&mut self) {
        // Nobody is left to ask how they end; `ensure` of the next provider resumes them.
        self.inner.builds().values().for_each(|tracker| tracker.cancel());
    }
}

/// What is asked before the registry; another registry cannot be.
fn parse_sources(config: &LocalConfig) -> Result<Vec<ImageSource>> {
    let sources = config
        .sources
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<ImageSource>>>()?;
    match sources.iter().find(|source| matches!(source, ImageSource::Registry(_))) {
        Some(bad) => {
            let message = format!("source `{bad}` is neither `oci:<directory>` nor `docker-archive:<file>`");
            Err(Error::new(ErrorKind::InvalidSpec, NAME, "open", message))
        }
        None => Ok(sources),
    }
}

fn is_building(state: &CacheState) -> bool {
    matches!(state.phase, Phase::Pending | Phase::Creating)
}

#[async_trait]
impl CacheProvider for LocalProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            platform_choice: true,
            registry_transport: true,
            builds_in_process: true,
            build_options: false,
            marks_owner: false,
        }
    }

    async fn ensure(&self, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState> {
        spec.validate(NAME)?;
        let (own_key, own_spec) = (key.clone(), spec.clone());
        let (state, build) = self
            .block("ensure", move |inner| inner.begin(&own_key, &own_spec))
            .await?;
        if let Some((tracker, lock)) = build {
            self.inner.started.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(build::run(tracker, lock, self.inner.input(spec)));
        }
        Ok(state)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheState>> {
        let id = CacheId::for_key(key);
        self.block("get", move |inner| inner.state(&id)).await
    }

    async fn delete(&self, key: &CacheKey) -> Result<()> {
        let id = CacheId::for_key(key);
        self.block("delete", move |inner| inner.remove(&id)).await
    }

    async fn list(&self) -> Result<Vec<CacheState>> {
        self.block("list", |inner| {
            let mut states = Vec::new();
            for id in inner.store.cache_ids()? {
                match inner.state(&id) {
                    Ok(state) => states.extend(state),
                    // One damaged record must not hide all others.
                    Err(imagecache_blocks::Error::Damaged { path, reason }) => {
                        tracing::warn!(path = %path.display(), reason, "a damaged cache record is left out");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(states)
        })
        .await
    }

    fn bind(&self, id: &CacheId) -> PodPatch {
        PodPatch::annotation(CACHE_ID_ANNOTATION, id.as_str())
    }
}
