//! Layers that are fit for use: from the catalog, through the verifier.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use imagecache_blocks::Part;
use imagecache_core::{Digest, chain};

use crate::catalog::{Candidate, Catalog, OpenStore, Origin};
use crate::error::Error;
use crate::file_state::FileState;
use crate::images::Wanted;
use crate::repair::{repair, repair_after};
use crate::verify::{Verdict, Verifier};

/// What this node can mount instead of pulling it.
#[derive(Debug)]
pub struct Supply {
    /// Which layers the stores hold.
    pub catalog: Catalog,
    /// Which files are sound.
    pub verifier: Verifier,
    /// Every source was looked at once.
    read: AtomicBool,
    damaged: Mutex<BTreeMap<PathBuf, (Option<FileState>, String)>>,
}

impl Supply {
    /// A supply of nothing, until the catalog is refreshed.
    pub fn new(verifier: Verifier) -> Self {
        Self {
            catalog: Catalog::default(),
            verifier,
            read: AtomicBool::new(false),
            damaged: Mutex::default(),
        }
    }

    /// The first candidate for a chain whose images are all sound, and what to mount. Hashes what was not hashed yet.
    pub fn sound(&self, chain: &Digest) -> Option<(Candidate, Vec<Wanted>)> {
        let candidates = self.catalog.candidates(chain).into_iter();
        candidates
            .filter_map(|candidate| Some((self.checked(&candidate)?, candidate)))
            .map(|(wanted, candidate)| (candidate, wanted))
            .next()
    }

    /// What to mount for a candidate whose images are all sound. One that is not is reported, once, and not used.
    pub fn checked(&self, candidate: &Candidate) -> Option<Vec<Wanted>> {
        let parts = candidate.layer.parts.iter();
        parts.map(|part| self.check(&candidate.store, part)).collect()
    }

    /// The same if all of them are known to be sound: hashes nothing.
    pub fn known(&self, candidate: &Candidate) -> Option<Vec<Wanted>> {
        let store = &candidate.store;
        let parts = candidate.layer.parts.iter();
        let known = parts.map(|part| {
            let file = store.file(part);
            let state = self.verifier.known_sound(&file, part, store.origin.memory())?;
            Some(wanted(store, part, file, state))
        });
        known.collect()
    }

    /// Forgets what is known of files that no store has any more.
    pub(crate) fn prune(&self) {
        let all = self.catalog.all();
        let files = all.iter().flat_map(|candidate| {
            let store = &candidate.store;
            let parts = candidate.layer.parts.iter();
            parts.map(move |part| (store.file(part), part.clone(), store.origin.memory()))
        });
        self.verifier.prune(&files.collect::<Vec<_>>());
    }

    /// Notes that every source was looked at.
    pub(crate) fn set_read(&self) {
        self.read.store(true, Ordering::Release);
    }

    /// Whether what the catalog lacks is nowhere.
    pub(crate) fn is_read(&self) -> bool {
        self.read.load(Ordering::Acquire)
    }

    /// Damaged files, and what is wrong with each.
    pub fn damage(&self) -> Vec<(PathBuf, String)> {
        let mut damaged = self.damaged();
        // One that is gone, or another one by now, was repaired or will be asked for again.
        damaged.retain(|file, (state, _)| FileState::at(file).is_ok_and(|now| *state == Some(now)));
        let damaged = damaged.iter();
        damaged
            .map(|(file, (_, reason))| (file.clone(), reason.clone()))
            .collect()
    }

    fn check(&self, store: &OpenStore, part: &Part) -> Option<Wanted> {
        let file = store.file(part);
        // Without it its cache was deleted a moment ago, which is no damage.
        let before = FileState::at(&file).ok()?;
        let blocks = || store.blocks(part);
        let checked = self.verifier.check(&file, part, store.origin.memory(), &blocks);
        let problem = match &checked {
            Ok(Verdict::Sound(state)) => {
                self.damaged().remove(&file);
                return Some(wanted(store, part, file, *state));
            }
            Ok(Verdict::Damaged(reason)) => reason.clone(),
            Err(Error::Unavailable(_) | Error::NotFound(_)) => return None,
            Err(error) => chain(error),
        };
        let now = (Some(before), problem);
        let known = self.damaged().insert(file.clone(), now.clone());
        if known.as_ref() != Some(&now) {
            tracing::error!(%part, file = %file.display(), reason = now.1, "a layer image is damaged; it is not used, its layer is pulled");
            match &checked {
                Ok(_) => repair(store, part, Some(before.inode())),
                Err(error) => repair_after(store, part, error),
            }
        }
        None
    }

    fn damaged(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, (Option<FileState>, String)>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wanted(store: &OpenStore, part: &Part, file: PathBuf, state: FileState) -> Wanted {
    let volume = match &store.origin {
        Origin::Directory => None,
        Origin::Volume { mark, .. } => Some(mark.clone()),
    };
    Wanted {
        part: part.clone(),
        file,
        state: Some(state),
        volume,
    }
}
