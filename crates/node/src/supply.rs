//! Layers that are fit for use: from the catalog, through the verifier.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use imagecache_core::{Digest, chain};

use crate::catalog::{Candidate, Catalog};
use crate::images::Wanted;
use crate::verify::{Verdict, Verifier};

/// What this node can mount instead of pulling it.
#[derive(Debug)]
pub struct Supply {
    /// Which layers the stores hold.
    pub catalog: Catalog,
    /// Which files are sound.
    pub verifier: Verifier,
    damaged: Mutex<BTreeMap<PathBuf, String>>,
}

impl Supply {
    /// A supply of nothing, until the catalog is refreshed.
    pub fn new(verifier: Verifier) -> Self {
        Self {
            catalog: Catalog::default(),
            verifier,
            damaged: Mutex::default(),
        }
    }

    /// The first candidate for a chain whose images are all sound. Hashes what was not hashed yet.
    pub fn sound(&self, chain: &Digest) -> Option<Candidate> {
        self.catalog
            .candidates(chain)
            .into_iter()
            .find(|candidate| self.is_sound(candidate))
    }

    /// Whether all images of a candidate are sound. One that is not is reported, once, and not used.
    pub fn is_sound(&self, candidate: &Candidate) -> bool {
        candidate.layer.parts.iter().all(|part| {
            let store = &candidate.store;
            let file = store.file(part);
            let blocks = || store.blocks(part);
            // Its cache was deleted a moment ago, which is no damage.
            if !file.exists() {
                self.damaged().remove(&file);
                return false;
            }
            let problem = match self.verifier.check(&file, part, store.memory, &blocks) {
                Ok(Verdict::Sound) => {
                    self.damaged().remove(&file);
                    return true;
                }
                Ok(Verdict::Damaged(reason)) => reason,
                Err(error) => chain(&error),
            };
            let before = self.damaged().insert(file.clone(), problem.clone());
            if before.as_ref() != Some(&problem) {
                tracing::error!(%part, file = %file.display(), reason = problem, "a layer image is damaged; it is not used, its layer is pulled");
            }
            false
        })
    }

    /// Damaged files, and what is wrong with each.
    pub fn damage(&self) -> Vec<(PathBuf, String)> {
        let mut damaged = self.damaged();
        damaged.retain(|file, _| file.exists());
        damaged.clone().into_iter().collect()
    }

    /// What to mount for a candidate.
    pub fn wanted(candidate: &Candidate) -> Vec<Wanted> {
        let wanted = candidate.layer.parts.iter().map(|part| Wanted {
            part: part.clone(),
            file: candidate.store.file(part),
        });
        wanted.collect()
    }

    fn damaged(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, String>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
