//! What containerd asks of a snapshotter. Calls block; each is over in milliseconds unless it must hash an image first.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use imagecache_core::{Digest, chain};
use jiff::Timestamp;

use crate::book::Book;
use crate::disk;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::images::Images;
use crate::layout::{Layout, numbers_in};
use crate::metrics::Metrics;
use crate::root::root_mounts;
use crate::snapshot::{CachedLayer, Content, Kind, Labels, REFERENCE_LABEL, Snapshot, Usage};
use crate::state::{State, not_found};
use crate::supply::Supply;
use crate::verify::Verifier;
use crate::wire::{Info, Mount};

/// How often a call looks for usable images of its parents: the second time after it had them mounted.
const ATTEMPTS: usize = 2;

/// The snapshots of one root directory.
#[derive(Debug)]
pub struct Snapshotter {
    layout: Layout,
    supply: Supply,
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
        let last_number = numbers_in(&layout.snapshots())?
            .into_iter()
            .max()
            .unwrap_or(0)
            .max(book.last_number());
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
        {
            let mut state = snapshotter.lock();
            let state = &mut *state;
            state.images.reconcile(&snapshotter.layout, &mut state.book)?;
        }
        snapshotter.cleanup()?;
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
            &state.lowers(&self.layout, &self.supply, snapshot.parent.as_deref())?,
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
        state.book.replace(Some(key), committed)
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
        match content {
            Content::Directory(number) => self.discard(number),
            Content::Cached(_) => state.images.collect(&self.layout, &mut state.book),
        }
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
                if !images.contains(&number)
                    && !state.book.uses_directory(number)
                    && let Err(error) = self.discard(number)
                {
                    // A mount that is busy; it must not keep the others from being served.
                    tracing::warn!(number, error = %chain(&error), "a leftover directory stays for now");
                }
            }
        }
        self.empty_trash()
    }

    /// Removes the files of removed snapshots.
    ///
    /// # Errors
    /// `Io`; the rest is removed next time.
    pub fn empty_trash(&self) -> Result<()> {
        let trash = self.layout.trash();
        let entries = fs::read_dir(&trash).map_err(|error| Error::io("read", &trash, error))?;
        for entry in entries.flatten() {
            match fs::remove_dir_all(entry.path()) {
                // Several may empty it at once.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", entry.path(), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Commits the layer at the end of a chain if a cache holds it and it is what containerd needs on this parent.
    fn offer(&self, reference: &str, parent: Option<&str>, labels: &Labels) -> Result<bool> {
        let Ok(chain_id) = reference.parse::<Digest>() else {
            return Ok(false);
        };
        if self.lock().cached_twin(&self.layout, &self.supply, &chain_id, parent) {
            return Ok(true);
        }
        let Some(candidate) = self.supply.sound(&chain_id) else {
            return Ok(false);
        };
        let mut state = self.lock();
        if let Some(parent) = parent {
            let below = state.committed(parent)?.labels.get(REFERENCE_LABEL);
            // Without a label the chainID is proof enough: containerd computed it from the layers below.
            if below.is_some_and(|below| Some(below) != candidate.below.as_ref().map(ToString::to_string).as_ref()) {
                return Ok(false);
            }
        }
        // Where layers are unpacked side by side, containerd says the parent later. A snapshot that was committed without
        // one would stay alone, so only the lowest layer can be given then.
        if parent.is_none() != candidate.below.is_none() {
            return Ok(false);
        }
        if state.cached_twin(&self.layout, &self.supply, &chain_id, parent) {
            return Ok(true);
        }
        self.mount_images(&mut state, &Supply::wanted(&candidate))?;
        state.last_number += 1;
        // containerd takes the name from List; two of the same chain may have different parents.
        let name = format!("cached/{}/{chain_id}", state.last_number);
        let content = Content::Cached(candidate.layer);
        state
            .book
            .put(Snapshot::new(&name, parent, Kind::Committed, labels.clone(), content))?;
        Ok(true)
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
        let lowers = state.lowers(&self.layout, &self.supply, parent)?;
        if let Some(top) = lowers.first() {
            let owner = fs::metadata(top).map_err(|error| Error::io("read", top, error))?;
            chown(&files, Some(owner.uid()), Some(owner.gid())).map_err(|error| Error::io("change", &files, error))?;
        }
        let mounts = root_mounts(&self.layout, &snapshot, &lowers)?;
        state.book.put(snapshot)?;
        Ok(mounts)
    }

    /// The state, when every cached layer from `parent` down is mounted and sound.
    fn with_parents(&self, parent: Option<&str>) -> Result<MutexGuard<'_, State>> {
        for _ in 0..ATTEMPTS {
            let state = self.lock();
            if let Some(parent) = parent {
                state.committed(parent)?;
            }
            let unusable: Vec<CachedLayer> = state
                .ancestors(parent)?
                .into_iter()
                .filter_map(|snapshot| match &snapshot.content {
                    Content::Cached(layer) if !state.is_usable(&self.layout, &self.supply, layer) => {
                        Some(layer.clone())
                    }
                    _ => None,
                })
                .collect();
            if unusable.is_empty() {
                return Ok(state);
            }
            drop(state);
            for layer in unusable {
                let candidate = self
                    .supply
                    .sound(&layer.chain_id)
                    .filter(|found| found.layer.parts == layer.parts);
                let candidate = candidate.ok_or_else(|| {
                    Error::Unavailable(format!(
                        "the cached layer of chain {} is damaged or gone, and no other store has it: remove the image from this node and pull it again",
                        layer.chain_id
                    ))
                })?;
                let mut state = self.lock();
                self.mount_images(&mut state, &Supply::wanted(&candidate))?;
            }
        }
        Err(Error::Unavailable(
            "cached layers change while they are mounted; try again".to_owned(),
        ))
    }

    fn mount_images(&self, state: &mut State, wanted: &[crate::images::Wanted]) -> Result<()> {
        let State {
            book,
            images,
            last_number,
        } = state;
        let mounted = images.mount(&self.layout, book, &self.supply.verifier, wanted, last_number);
        if mounted.is_err() {
            images.collect(&self.layout, book)?;
        }
        mounted
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
