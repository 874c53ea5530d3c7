//! Cached layers as snapshots: offered to containerd, mounted ahead, and mounted again when something happened to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::MutexGuard;

use imagecache_blocks::Part;
use imagecache_core::Digest;

use crate::book::Change;
use crate::catalog::Origin;
use crate::error::{Error, Result};
use crate::images::Wanted;
use crate::snapshot::{CachedLayer, Content, Kind, Labels, REFERENCE_LABEL, Snapshot};
use crate::snapshotter::Snapshotter;
use crate::state::State;

/// How often a call looks for usable images of its parents: the second time after it had them mounted.
const ATTEMPTS: usize = 2;

/// Images that are mounted before anybody asks for them. Every mount costs memory, and whoever watches the mounts of a machine
/// reads all of them at each change.
const MOST_AHEAD: usize = 500;
/// Images that are mounted ahead while callers wait.
const AHEAD_AT_ONCE: usize = 16;

impl Snapshotter {
    /// Looks what the store in `directory` holds, hashes what is new and mounts it, all at once. What follows stores does this
    /// in steps.
    ///
    /// # Errors
    /// When the store cannot be read, or something cannot be mounted.
    pub fn look_at_directory(&self, directory: &Path) -> Result<()> {
        let layers = self.supply.catalog.refresh(directory, &Origin::Directory)?;
        for layer in layers.into_iter().flatten() {
            self.supply.checked(&layer);
        }
        self.supply.set_read();
        self.mount_ahead()
    }

    /// Mounts images that are known to be sound before a pod needs them, up to a limit, and unmounts what no
    /// store holds any more and nothing uses.
    ///
    /// # Errors
    /// When the book cannot be written, or images cannot be mounted; those are mounted when they are needed.
    pub fn mount_ahead(&self) -> Result<()> {
        let mut wanted: BTreeMap<Part, Wanted> = BTreeMap::new();
        for candidate in self.supply.catalog.all() {
            for image in self.supply.known(&candidate).into_iter().flatten() {
                wanted.entry(image.part.clone()).or_insert(image);
            }
        }
        let wanted = {
            let state = self.lock();
            most_of(wanted, MOST_AHEAD, |part| {
                state.images.usable(&self.layout, &state.book, part).is_some()
            })
        };
        self.lock().images.keep_ahead(wanted.keys().cloned().collect());
        let images: Vec<Wanted> = wanted.into_values().collect();
        let mut outcome = Ok(());
        for some in images.chunks(AHEAD_AT_ONCE) {
            if self.mount_images(&mut self.lock(), some, None).is_err() {
                // One that cannot be mounted must not keep the others from it.
                for image in some {
                    let mounted = self.mount_images(&mut self.lock(), std::slice::from_ref(image), None);
                    outcome = outcome.and(mounted);
                }
            }
        }
        let mut state = self.lock();
        let state = &mut *state;
        state.images.collect(&self.layout, &mut state.book)?;
        outcome
    }

    /// Commits the layer at the end of a chain if a cache holds it and it is what containerd needs on this parent.
    pub(crate) fn offer(&self, reference: &str, parent: Option<&str>, labels: &Labels) -> Result<bool> {
        let Ok(chain_id) = reference.parse::<Digest>() else {
            return Ok(false);
        };
        if self.lock().cached_twin(&self.layout, &chain_id, parent) {
            return Ok(true);
        }
        let Some((candidate, images)) = self.supply.sound(&chain_id) else {
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
        if state.cached_twin(&self.layout, &chain_id, parent) {
            return Ok(true);
        }
        state.last_number += 1;
        // containerd takes the name from List; two of the same chain may have different parents.
        let name = format!("cached/{}/{chain_id}", state.last_number);
        let content = Content::Cached(candidate.layer);
        let snapshot = Snapshot::new(&name, parent, Kind::Committed, labels.clone(), content);
        self.mount_images(&mut state, &images, Some(snapshot))?;
        Ok(true)
    }

    /// The state, when every cached layer from `parent` down is mounted and sound.
    pub(crate) fn with_parents(&self, parent: Option<&str>) -> Result<MutexGuard<'_, State>> {
        for _ in 0..ATTEMPTS {
            let state = self.lock();
            if let Some(parent) = parent {
                state.committed(parent)?;
            }
            let unusable: Vec<CachedLayer> = state
                .ancestors(parent)?
                .into_iter()
                .filter_map(|snapshot| match &snapshot.content {
                    Content::Cached(layer) if !state.is_usable(&self.layout, layer) => Some(layer.clone()),
                    _ => None,
                })
                .collect();
            if unusable.is_empty() {
                return Ok(state);
            }
            drop(state);
            for layer in unusable {
                let found = self.supply.sound(&layer.chain_id);
                let found = found.filter(|(candidate, _)| candidate.layer.parts == layer.parts);
                let (_, images) = found.ok_or_else(|| self.missing(&layer))?;
                self.mount_images(&mut self.lock(), &images, None)?;
            }
        }
        Err(Error::Unavailable(
            "cached layers change while they are mounted; try again".to_owned(),
        ))
    }

    /// Why a cached layer that a snapshot is made of cannot be had.
    fn missing(&self, layer: &CachedLayer) -> Error {
        let why = match self.supply.is_read() {
            false => "is not mounted, and the stores of this node were not all read yet; try again",
            true => {
                "is damaged or gone, and no store has a sound one: it is used again once its cache was built again;                  without a cache, remove the image from this node and pull it again"
            }
        };
        Error::Unavailable(format!("the cached layer of chain {} {why}", layer.chain_id))
    }

    /// Mounts images and writes them down, together with a snapshot that is made of them.
    fn mount_images(&self, state: &mut State, wanted: &[Wanted], snapshot: Option<Snapshot>) -> Result<()> {
        let State {
            book,
            images,
            last_number,
        } = state;
        let mounted = images.mount(&self.layout, book, wanted, last_number)?;
        if mounted.fresh.is_empty() && snapshot.is_none() {
            return Ok(());
        }
        let numbers: Vec<u64> = mounted.fresh.iter().map(|(number, _)| *number).collect();
        let written = book.apply(Change {
            put: snapshot,
            gone: mounted.replaced.clone(),
            images: mounted.fresh,
            ..Change::default()
        });
        images.retire(&self.layout, if written.is_ok() { mounted.replaced } else { numbers });
        written
    }
}

/// So many of the images. Those that are mounted come first, so that looks do not take turns.
fn most_of(wanted: BTreeMap<Part, Wanted>, most: usize, is_mounted: impl Fn(&Part) -> bool) -> BTreeMap<Part, Wanted> {
    if wanted.len() <= most {
        return wanted;
    }
    let (mut first, rest): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(part, _)| is_mounted(part));
    first.extend(rest);
    first.into_iter().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_images_are_mounted_ahead_and_they_stay() {
        let parts: Vec<Part> = (0..10_u8).map(|n| Part::Layer(Digest::sha256_of(&[n]))).collect();
        let wanted = || -> BTreeMap<Part, Wanted> {
            let image = |part: &Part| Wanted {
                part: part.clone(),
                file: "image".into(),
                state: None,
                volume: None,
            };
            parts.iter().map(|part| (part.clone(), image(part))).collect()
        };
        assert_eq!(most_of(wanted(), 10, |_| false), wanted());
        for mounted in &parts {
            let chosen = most_of(wanted(), 3, |part| part == mounted);
            assert!(chosen.len() == 3 && chosen.contains_key(mounted));
        }
    }
}
