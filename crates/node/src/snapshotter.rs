//! What containerd asks of a snapshotter. Calls block; each is over in milliseconds unless it must hash an image first.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use imagecache_core::chain;
use jiff::Timestamp;

use crate::book::{Book, Change};
use crate::disk;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::images::Images;
use crate::layout::{Layout, numbers_in};
use crate::metrics::Metrics;
use crate::root::root_mounts;
use crate::snapshot::{Content, Kind, Labels, REFERENCE_LABEL, Snapshot, Usage};
use crate::state::{State, not_found};
use crate::supply::Supply;
use crate::verify::Verifier;
use crate::wire::{Info, Mount};

/// The snapshots of one root directory.
#[derive(Debug)]
pub struct Snapshotter {
    pub(crate) layout: Layout,
    pub(crate) supply: Supply,
    metrics: Metrics,
    state: Mutex<State>,
}

impl Snapshotter {
    /// Opens the snapshots below `root`, and puts right what a crash or a reboot left.
    ///
    /// # Errors
    /// When another process has them open, or something cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout::create(root)?;
        let book = Book::open(&layout.book())?;
        // What cannot be removed from the trash keeps its number: the next directory of that number would not fit there.
        let mut last_number = book.last_number();
        for directory in [layout.snapshots(), layout.images(), layout.trash()] {
            last_number = numbers_in(&directory)?.into_iter().fold(last_number, u64::max);
        }
        let supply = Supply::new(Verifier::open(&layout.verified())?);
        let state = Mutex::new(State {
            book,
            images: Images::default(),
            last_number,
        });
        let metrics = Metrics::default();
        let snapshotter = Self {
            layout,
            supply,
            metrics,
            state,
        };
        let reconciled = {
            let mut state = snapshotter.lock();
            let state = &mut *state;
            state.images.reconcile(&snapshotter.layout, &mut state.book)
        };
        if let Err(error) = reconciled {
            tracing::error!(error = %chain(&error), "not everything of an earlier run was put right; what is missing is mounted when it is needed");
        }
        // What a container left unremovable must not keep all others from starting.
        if let Err(error) = snapshotter.cleanup() {
            tracing::warn!(error = %chain(&error), "leftovers of an earlier run stay");
        }
        Ok(snapshotter)
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What can be mounted instead of being pulled.
    pub fn supply(&self) -> &Supply {
        &self.supply
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Numbers of snapshots and mounted images.
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.book.snapshots().count(), state.images.count())
    }

    /// Makes a writable snapshot. A layer that a cache holds is committed at once.
    ///
    /// # Errors
    /// `AlreadyExists` says just that: the layer is there; containerd finds it by its label then.
    pub fn prepare(&self, key: &str, parent: Option<&str>, labels: Labels) -> Result<Vec<Mount>> {
        if let Some(reference) = labels.get(REFERENCE_LABEL) {
            match self.offer(reference, parent, &labels) {
                Ok(true) => return Err(Error::AlreadyExists(reference.clone())),
                Ok(false) => {}
                // What the cache cannot give is pulled.
                Err(error) => {
                    tracing::warn!(chain_id = reference, error = %chain(&error), "a cached layer cannot be used");
                }
            }
        }
        self.create(key, parent, Kind::Active, labels)
    }

    /// Makes a read-only snapshot.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` without its parent, `Unavailable` when a cached layer below it is damaged.
    pub fn view(&self, key: &str, parent: Option<&str>, labels: Labels) -> Result<Vec<Mount>> {
        self.create(key, parent, Kind::View, labels)
    }

    /// What to mount for an active snapshot or a view.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` for a committed one, `Unavailable` when a cached layer below it is damaged.
    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let parent = self
            .lock()
            .book
            .snapshot(key)
            .ok_or_else(|| not_found(key))?
            .parent
            .clone();
        let state = self.with_parents(parent.as_deref())?;
        let snapshot = state.book.snapshot(key).ok_or_else(|| not_found(key))?;
        root_mounts(
            &self.layout,
            snapshot,
            &state.lowers(&self.layout, snapshot.parent.as_deref())?,
        )
    }

    /// Turns an active snapshot into a committed one. `parent` is for one that was prepared without.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `FailedPrecondition` when it is not active.
    pub fn commit(&self, name: &str, key: &str, parent: Option<&str>, labels: Labels) -> Result<()> {
        // Counted outside the lock: a layer may have a hundred thousand files.
        let usage = disk::usage(&self.directory_of(key)?)?;
        let mut state = self.lock();
        let active = state.book.snapshot(key).ok_or_else(|| not_found(key))?;
        if active.kind != Kind::Active {
            return Err(Error::FailedPrecondition(format!("snapshot {key} is not active")));
        }
        if state.book.snapshot(name).is_some() {
            return Err(Error::AlreadyExists(name.to_owned()));
        }
        let mut committed = Snapshot::new(
            name,
            active.parent.as_deref(),
            Kind::Committed,
            labels,
            active.content.clone(),
        );
        committed.usage = usage;
        match (parent, &active.parent) {
            (Some(given), Some(known)) if given != known => {
                return Err(Error::InvalidArgument(format!(
                    "snapshot {key} has parent {known}, not {given}"
                )));
            }
            (Some(given), _) => {
                state.committed(given)?;
                committed.parent = Some(given.to_owned());
            }
            (None, _) => {}
        }
        state.book.apply(Change {
            remove: Some(key.to_owned()),
            put: Some(committed),
            ..Change::default()
        })
    }

    /// Removes a snapshot. Its files go afterwards, with [`Snapshotter::cleanup`].
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` when there are snapshots upon it.
    pub fn remove(&self, key: &str) -> Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        let snapshot = state.book.snapshot(key).ok_or_else(|| not_found(key))?;
        if let Some(child) = state.book.child_of(key) {
            return Err(Error::FailedPrecondition(format!(
                "snapshot {key} has snapshot {child} upon it"
            )));
        }
        let content = snapshot.content.clone();
        state.book.remove(key)?;
        // The snapshot is gone. What cannot be taken away now is a leftover, which the next cleanup meets.
        let taken = match content {
            Content::Directory(number) => self.discard(number),
            Content::Cached(_) => state.images.collect(&self.layout, &mut state.book),
        };
        if let Err(error) = taken {
            tracing::warn!(key, error = %chain(&error), "what a removed snapshot was made of stays for now");
        }
        Ok(())
    }

    /// What is known of a snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.lock().book.snapshot(key).ok_or_else(|| not_found(key))?.info())
    }

    /// Changes labels: all of them, or those that `fields` names.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` for another field.
    pub fn update(&self, key: &str, labels: &Labels, fields: &[String]) -> Result<Info> {
        let mut state = self.lock();
        let mut snapshot = state.book.snapshot(key).ok_or_else(|| not_found(key))?.clone();
        if fields.is_empty() {
            snapshot.labels = labels.clone();
        }
        for field in fields {
            match (field.as_str(), field.strip_prefix("labels.")) {
                ("labels", _) => snapshot.labels = labels.clone(),
                (_, Some(label)) => {
                    // A label without value is one that is taken away.
                    match labels.get(label).filter(|value| !value.is_empty()) {
                        Some(value) => snapshot.labels.insert(label.to_owned(), value.clone()),
                        None => snapshot.labels.remove(label),
                    };
                }
                _ => {
                    return Err(Error::InvalidArgument(format!(
                        "field {field} of a snapshot cannot be changed"
                    )));
                }
            }
        }
        // Without it containerd would never find the layer again, and we would still say that it is there.
        if let Content::Cached(layer) = &snapshot.content {
            let reference = layer.chain_id.to_string();
            snapshot.labels.insert(REFERENCE_LABEL.to_owned(), reference);
        }
        snapshot.updated = Timestamp::now();
        let info = snapshot.info();
        state.book.put(snapshot)?;
        Ok(info)
    }

    /// Snapshots that fit any of these filters; all of them without any.
    ///
    /// # Errors
    /// `InvalidArgument` for a filter that cannot be read.
    pub fn list(&self, filters: &[String]) -> Result<Vec<Info>> {
        let filters = filters
            .iter()
            .map(|text| Filter::parse(text))
            .collect::<Result<Vec<_>>>()?;
        let state = self.lock();
        let fitting = state
            .book
            .snapshots()
            .filter(|snapshot| filters.is_empty() || filters.iter().any(|filter| filter.matches(snapshot)));
        Ok(fitting.map(Snapshot::info).collect())
    }

    /// What a snapshot takes on this node's disk. A cached layer takes nothing that its removal would free.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn usage(&self, key: &str) -> Result<Usage> {
        let snapshot = self.lock().book.snapshot(key).ok_or_else(|| not_found(key))?.clone();
        match (&snapshot.content, snapshot.kind) {
            (Content::Directory(number), Kind::Active | Kind::View) => disk::usage(&self.layout.files(*number)),
            _ => Ok(snapshot.usage),
        }
    }

    /// Removes what no snapshot uses: directories, links, mounts.
    ///
    /// # Errors
    /// `Io`; the rest is removed next time.
    pub fn cleanup(&self) -> Result<()> {
        {
            let mut state = self.lock();
            let state = &mut *state;
            state.images.collect(&self.layout, &mut state.book)?;
            let images: Vec<u64> = state.book.images().map(|(number, _)| number).collect();
            for number in numbers_in(&self.layout.snapshots())? {
                if images.contains(&number) || state.book.uses_directory(number) {
                    continue;
                }
                if let Err(error) = self.discard(number) {
                    // A mount that a killed process was making just then; everybody else mounts under the lock that is held here.
                    state.images.retire_unknown(&self.layout, number);
                    if self.layout.place(number).exists() {
                        // It must not keep the others from being served.
                        tracing::warn!(number, error = %chain(&error), "a leftover directory stays for now");
                    }
                }
            }
        }
        self.empty_trash();
        Ok(())
    }

    /// Removes the files of removed snapshots. What cannot be removed stays until the next time, such as a file that a
    /// container made immutable.
    pub fn empty_trash(&self) {
        for entry in fs::read_dir(self.layout.trash()).into_iter().flatten().flatten() {
            match fs::remove_dir_all(entry.path()) {
                // Several may empty it at once.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %entry.path().display(), %error, "a removed snapshot still takes room");
                }
                _ => {}
            }
        }
    }

    fn create(&self, key: &str, parent: Option<&str>, kind: Kind, labels: Labels) -> Result<Vec<Mount>> {
        let mut state = self.with_parents(parent)?;
        if state.book.snapshot(key).is_some() {
            return Err(Error::AlreadyExists(key.to_owned()));
        }
        state.last_number += 1;
        let number = state.last_number;
        let snapshot = Snapshot::new(key, parent, kind, labels, Content::Directory(number));
        // A crash leaves a directory that the book does not know.
        disk::make_directory(&self.layout.place(number), 0o700)?;
        let files = self.layout.files(number);
        disk::make_directory(&files, 0o755)?;
        if kind == Kind::Active {
            disk::make_directory(&self.layout.work(number), 0o711)?;
        }
        let lowers = state.lowers(&self.layout, parent)?;
        if let Some(top) = lowers.first() {
            let owner = fs::metadata(top).map_err(|error| Error::io("read", top, error))?;
            chown(&files, Some(owner.uid()), Some(owner.gid())).map_err(|error| Error::io("change", &files, error))?;
        }
        let mounts = root_mounts(&self.layout, &snapshot, &lowers)?;
        state.book.put(snapshot)?;
        Ok(mounts)
    }

    fn directory_of(&self, key: &str) -> Result<PathBuf> {
        let state = self.lock();
        match state.book.snapshot(key).ok_or_else(|| not_found(key))?.content {
            Content::Directory(number) => Ok(self.layout.files(number)),
            Content::Cached(_) => Err(Error::FailedPrecondition(format!("snapshot {key} is not active"))),
        }
    }

    /// Takes a directory out of the way; it is removed later.
    fn discard(&self, number: u64) -> Result<()> {
        let place = self.layout.place(number);
        match fs::rename(&place, self.layout.trash().join(number.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", place, error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
