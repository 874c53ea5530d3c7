//! The objects: all in memory, every write one durable redb transaction, the latest changes kept for watches.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;
use tokio::sync::watch;

use crate::OpenError;
use crate::status::ApiError;

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const REVISION: &str = "revision";
/// Changes kept for watches and consistent list pages; older ones answer 410.
const HISTORY_CHANGES: usize = 1024;
/// Pages that the database keeps in memory: every object is there already, so a few for writing are enough.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// File name of the database inside the data directory.
const FILE: &str = "apiserver.redb";

/// Where an object lives. Ordered so that one resource, and one namespace of it, is a contiguous range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// `group/plural`; the core group is empty.
    pub(crate) resource: String,
    /// Empty for cluster-scoped objects.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn encode(&self) -> String {
        format!("{}\0{}\0{}", self.resource, self.namespace, self.name)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '\0');
        Some(Self::new(parts.next()?, parts.next()?, parts.next()?))
    }
}

/// An object as its JSON text. Thousands are kept, and the parsed form takes many times the memory.
#[derive(Clone, Debug)]
pub(crate) struct Packed(Arc<[u8]>);

impl Packed {
    fn pack(object: &Value) -> Self {
        Self(object.to_string().into_bytes().into())
    }

    /// The object, parsed anew.
    pub(crate) fn open(&self) -> Value {
        // It was made from a `Value`, here or when it was read from disk.
        serde_json::from_slice(&self.0).unwrap_or_default()
    }
}

/// One committed change, with the object on both sides of it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Packed>,
    /// For a deletion: the last state with the revision of the deletion.
    pub(crate) object: Packed,
    pub(crate) deleted: bool,
}

type Objects = BTreeMap<Key, Packed>;

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    history: VecDeque<Arc<Change>>,
    revision: u64,
    /// Changes up to this revision are no longer in `history`.
    compacted: u64,
    /// Revision of the last change of each resource in this process.
    touched: BTreeMap<String, u64>,
}

impl State {
    fn range(&self, resource: &str, namespace: Option<&str>) -> Objects {
        let from = Key::new(resource, namespace.unwrap_or(""), "");
        self.objects
            .range(from..)
            .take_while(|(k, _)| k.resource == resource && namespace.is_none_or(|n| k.namespace == n))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }
}

/// All objects of one server.
#[derive(Debug)]
pub(crate) struct Store {
    db: Option<Database>,
    state: RwLock<State>,
    writing: Mutex<()>,
    revision: watch::Sender<u64>,
    /// When old objects were last looked for.
    swept: Mutex<Option<Instant>>,
}

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Commit,
    DryRun,
}

impl Store {
    pub(crate) fn in_memory() -> Self {
        Self::with(
            None,
            State {
                revision: 1,
                compacted: 1,
                ..State::default()
            },
        )
    }

    /// Opens or creates the database in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|source| OpenError::Directory {
            path: dir.to_owned(),
            source,
        })?;
        let path = dir.join(FILE);
        let failed = |source: redb::Error| OpenError::Database {
            path: path.clone(),
            source: Box::new(source),
        };
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|e| match e {
                redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.clone() },
                other => failed(other.into()),
            })?;
        restrict(&path).map_err(|source| OpenError::Directory {
            path: path.clone(),
            source,
        })?;
        let state = load(&db).map_err(failed)?;
        Ok(Self::with(Some(db), state))
    }

    fn with(db: Option<Database>, state: State) -> Self {
        let (revision, _) = watch::channel(state.revision);
        Self {
            db,
            state: RwLock::new(state),
            writing: Mutex::new(()),
            revision,
            swept: Mutex::default(),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told the revision after every commit.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.packed(key).map(|object| object.open())
    }

    fn packed(&self, key: &Key) -> Option<Packed> {
        self.read().objects.get(key).cloned()
    }

    /// Objects of a resource now, with the revision they are at.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Objects) {
        let state = self.read();
        (state.revision, state.range(resource, namespace))
    }

    /// Objects as they were at `revision`, by undoing later changes.
    pub(crate) fn list_at(&self, resource: &str, namespace: Option<&str>, revision: u64) -> Result<Objects, ApiError> {
        let state = self.read();
        if revision < state.compacted {
            return Err(too_old(revision, state.compacted));
        }
        let mut objects = state.range(resource, namespace);
        for change in state.history.iter().rev().take_while(|c| c.revision > revision) {
            if change.key.resource == resource && namespace.is_none_or(|n| change.key.namespace == n) {
                match &change.before {
                    Some(before) => objects.insert(change.key.clone(), before.clone()),
                    None => objects.remove(&change.key),
                };
            }
        }
        Ok(objects)
    }

    /// Revision of the last change of a resource, 0 if there was none since the start.
    pub(crate) fn revision_of(&self, resource: &str) -> u64 {
        self.read().touched.get(resource).copied().unwrap_or(0)
    }

    pub(crate) fn current_revision(&self) -> u64 {
        self.read().revision
    }

    /// Changes of a resource after `revision`, and the revision they reach.
    pub(crate) fn changes(&self, resource: &str, revision: u64) -> Result<(u64, Vec<Arc<Change>>), ApiError> {
        let state = self.read();
        if revision < state.compacted {
            return Err(too_old(revision, state.compacted));
        }
        let start = state.history.partition_point(|c| c.revision <= revision);
        let changes = state
            .history
            .range(start..)
            .filter(|c| c.key.resource == resource)
            .cloned()
            .collect();
        Ok((state.revision.max(revision), changes))
    }

    /// Runs `change` alone and keeps what it wrote in one transaction. Blocks on the disk.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Txn<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let _alone: MutexGuard<'_, ()> = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut txn = Txn {
            store: self,
            revision: self.current_revision(),
            pending: Vec::new(),
        };
        let result = change(&mut txn)?;
        let Txn { revision, pending, .. } = txn;
        if pending.is_empty() || durability == Durability::DryRun {
            return Ok(result);
        }
        if let Some(db) = &self.db {
            persist(db, revision, &pending).map_err(|e| {
                tracing::error!(error = &e as &dyn std::error::Error, "cannot write the database");
                ApiError::internal(format!("cannot write the database: {e}"))
            })?;
        }
        self.publish(revision, pending);
        Ok(result)
    }

    fn publish(&self, revision: u64, pending: Vec<Change>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for change in pending {
            if change.deleted {
                state.objects.remove(&change.key);
            } else {
                state.objects.insert(change.key.clone(), change.object.clone());
            }
            state.touched.insert(change.key.resource.clone(), change.revision);
            state.history.push_back(Arc::new(change));
        }
        while state.history.len() > HISTORY_CHANGES {
            if let Some(old) = state.history.pop_front() {
                state.compacted = old.revision;
            }
        }
        state.revision = revision;
        drop(state);
        self.revision.send_replace(revision);
    }
}

/// One write in progress: sees its own changes.
#[derive(Debug)]
pub(crate) struct Txn<'a> {
    store: &'a Store,
    revision: u64,
    pending: Vec<Change>,
}

impl Txn<'_> {
    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.packed(key).map(|object| object.open())
    }

    fn packed(&self, key: &Key) -> Option<Packed> {
        match self.pending.iter().rev().find(|c| c.key == *key) {
            Some(change) => (!change.deleted).then(|| change.object.clone()),
            None => self.store.packed(key),
        }
    }

    /// Objects of a resource, this write's own changes included.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> Objects {
        self.overlay(self.store.list(resource, namespace).1, |k| {
            k.resource == resource && namespace.is_none_or(|n| k.namespace == n)
        })
    }

    /// Everything in a namespace, of any resource.
    pub(crate) fn namespace(&self, namespace: &str) -> Objects {
        let state = self.store.read();
        let objects = state.objects.iter().filter(|(k, _)| k.namespace == namespace);
        let objects = objects.map(|(k, v)| (k.clone(), v.clone())).collect();
        drop(state);
        self.overlay(objects, |k| k.namespace == namespace)
    }

    fn overlay(&self, mut objects: Objects, belongs: impl Fn(&Key) -> bool) -> Objects {
        for change in self.pending.iter().filter(|c| belongs(&c.key)) {
            if change.deleted {
                objects.remove(&change.key);
            } else {
                objects.insert(change.key.clone(), change.object.clone());
            }
        }
        objects
    }

    /// Whether `interval` has passed since this was last true.
    pub(crate) fn is_due(&self, interval: Duration) -> bool {
        let mut swept = self.store.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let due = swept.is_none_or(|last| last.elapsed() >= interval);
        if due {
            *swept = Some(Instant::now());
        }
        due
    }

    /// Writes the object under a new resourceVersion and returns it.
    pub(crate) fn put(&mut self, key: Key, object: Value) -> Value {
        self.record(key, object, false)
    }

    /// Removes the object; returns its last state.
    pub(crate) fn delete(&mut self, key: &Key) -> Option<Value> {
        let object = self.get(key)?;
        Some(self.record(key.clone(), object, true))
    }

    fn record(&mut self, key: Key, mut object: Value, deleted: bool) -> Value {
        let before = self.packed(&key);
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let revision = self.revision;
        self.pending.push(Change {
            revision,
            key,
            before,
            object: Packed::pack(&object),
            deleted,
        });
        object
    }
}

fn too_old(asked: u64, oldest: u64) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({oldest})"))
}

/// Secrets are in the file: only its owner may read it.
fn restrict(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const OWNER_ONLY: u32 = 0o600;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(OWNER_ONLY))
}

fn load(db: &Database) -> Result<State, redb::Error> {
    let tables = db.begin_write()?;
    tables.open_table(OBJECTS)?;
    tables.open_table(COUNTERS)?;
    tables.commit()?;
    let read = db.begin_read()?;
    let mut state = State {
        revision: 1,
        ..State::default()
    };
    if let Some(revision) = read.open_table(COUNTERS)?.get(REVISION)? {
        state.revision = revision.value();
    }
    // History does not survive a restart: watches from before it start over.
    state.compacted = state.revision;
    for entry in read.open_table(OBJECTS)?.iter()? {
        let (key, value) = entry?;
        let object: Value = serde_json::from_slice(value.value())
            .map_err(|e| redb::Error::Corrupted(format!("object {:?}: {e}", key.value())))?;
        let key = Key::decode(key.value()).ok_or_else(|| redb::Error::Corrupted(format!("key {:?}", key.value())))?;
        state.objects.insert(key, Packed::pack(&object));
    }
    Ok(state)
}

fn persist(db: &Database, revision: u64, pending: &[Change]) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        let mut objects = write.open_table(OBJECTS)?;
        for change in pending {
            let key = change.key.encode();
            if change.deleted {
                objects.remove(key.as_str())?;
            } else {
                objects.insert(key.as_str(), &*change.object.0)?;
            }
        }
        write.open_table(COUNTERS)?.insert(REVISION, revision)?;
    }
    write.commit()?;
    Ok(())
}
