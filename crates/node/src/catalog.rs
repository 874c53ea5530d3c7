//! Which layers the stores of this node hold, by the chain that ends with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use imagecache_blocks::{Blocks, DirectoryStore, Part, Store as _, chain_ids, image_diff_ids, stored_images};
use imagecache_core::{Digest, chain};

use crate::error::{Error, Result};
use crate::file_state::FileState;
use crate::repair::repair_after;
use crate::snapshot::CachedLayer;
use crate::verify::Memory;
use crate::volumes::VolumeMark;

/// Over all images of the Ready caches of a store; replaced as a whole whenever they change.
pub(crate) const INDEX: &str = "index.json";

/// Where a layer is.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The store that holds it.
    pub store: Arc<OpenStore>,
    /// Its images.
    pub layer: CachedLayer,
    /// The chain below it.
    pub below: Option<Digest>,
}

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A directory, which may be writable.
    Directory,
    /// A volume, mounted for this time.
    Volume {
        /// Its device or file.
        mark: VolumeMark,
        /// Another number for every mount.
        mounting: u64,
    },
}

impl Origin {
    /// Whether what was found out about its files stays true.
    pub(crate) fn memory(&self) -> Memory {
        match self {
            Self::Directory => Memory::Kept,
            Self::Volume { mounting, .. } => Memory::Process(*mounting),
        }
    }
}

/// A store that can be read.
#[derive(Debug)]
pub struct OpenStore {
    /// The store.
    pub store: DirectoryStore,
    /// What it is.
    pub(crate) origin: Origin,
}

impl OpenStore {
    /// The image file of a part.
    pub fn file(&self, part: &Part) -> PathBuf {
        self.store.part_path(part)
    }

    /// What the store recorded of a part.
    ///
    /// # Errors
    /// `NotFound` when it has none, `Damaged` when the record cannot be read.
    pub fn blocks(&self, part: &Part) -> Result<Blocks> {
        let blocks = match part {
            Part::Layer(digest) => self.store.layer(digest)?.map(|record| record.blocks),
            Part::Patch(digest) => self.store.patch(digest)?.map(|record| record.blocks),
        };
        blocks.ok_or_else(|| Error::NotFound(format!("{part} in {}", self.store.location())))
    }
}

/// What one store holds.
#[derive(Debug)]
struct Shelf {
    /// The index at one moment. It is never written to, only replaced.
    index: FileState,
    origin: Origin,
    chains: HashMap<Digest, Candidate>,
    images: usize,
}

/// The layers of all stores. The first store that has a layer sound serves it.
#[derive(Debug, Default)]
pub struct Catalog {
    shelves: RwLock<Vec<(PathBuf, Shelf)>>,
}

impl Catalog {
    /// Whoever holds the layer at the end of this chain.
    pub fn candidates(&self, chain: &Digest) -> Vec<Candidate> {
        let shelves = self.shelves.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        shelves
            .iter()
            .filter_map(|(_, shelf)| shelf.chains.get(chain).cloned())
            .collect()
    }

    /// The stores.
    pub fn stores(&self) -> Vec<Arc<OpenStore>> {
        let shelves = self.shelves.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut stores: Vec<Arc<OpenStore>> = Vec::new();
        for candidate in shelves.iter().flat_map(|(_, shelf)| shelf.chains.values()) {
            if !stores.iter().any(|known| Arc::ptr_eq(known, &candidate.store)) {
                stores.push(Arc::clone(&candidate.store));
            }
        }
        stores
    }

    /// Images and layers that the stores hold now.
    pub fn size(&self) -> (usize, usize) {
        let shelves = self.shelves.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let images = shelves.iter().map(|(_, shelf)| shelf.images).sum();
        (images, shelves.iter().map(|(_, shelf)| shelf.chains.len()).sum())
    }

    /// All layers; one that several stores hold comes once for each.
    pub fn all(&self) -> Vec<Candidate> {
        self.layers(|_| true)
    }

    /// The layers of the store in `directory`.
    pub fn layers_in(&self, directory: &Path) -> Vec<Candidate> {
        self.layers(|path| path == directory)
    }

    fn layers(&self, fits: impl Fn(&Path) -> bool) -> Vec<Candidate> {
        let shelves = self.shelves.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shelves = shelves.iter().filter(|(path, _)| fits(path));
        shelves.flat_map(|(_, shelf)| shelf.chains.values().cloned()).collect()
    }

    /// Forgets all stores.
    pub fn clear(&self) {
        let mut shelves = self.shelves.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        shelves.clear();
    }

    /// Forgets the store in `directory`, which is gone.
    pub fn forget(&self, directory: &Path) {
        let mut shelves = self.shelves.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        shelves.retain(|(path, _)| path != directory);
    }

    /// Looks what the store in `directory` holds, unless nothing changed since. Gives the layers when it did.
    ///
    /// # Errors
    /// When the store cannot be read; then it counts as empty.
    pub(crate) fn refresh(&self, directory: &Path, origin: &Origin) -> Result<Option<Vec<Candidate>>> {
        let fresh = self.read_if_changed(directory, origin);
        let mut shelves = self.shelves.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = shelves.iter().position(|(path, _)| path == directory);
        match fresh {
            Ok(None) => Ok(None),
            Ok(Some(shelf)) => {
                let layers = shelf.chains.values().cloned().collect();
                match known.and_then(|at| shelves.get_mut(at)) {
                    Some((_, old)) => *old = shelf,
                    None => shelves.push((directory.to_owned(), shelf)),
                }
                Ok(Some(layers))
            }
            Err(error) => {
                shelves.retain(|(path, _)| path != directory);
                Err(error)
            }
        }
    }

    fn read_if_changed(&self, directory: &Path, origin: &Origin) -> Result<Option<Shelf>> {
        let path = directory.join(INDEX);
        let index = FileState::at(&path).map_err(|error| Error::io("read", path, error))?;
        {
            let shelves = self.shelves.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if shelves
                .iter()
                .any(|(path, shelf)| path == directory && shelf.index == index && shelf.origin == *origin)
            {
                return Ok(None);
            }
        }
        let store = DirectoryStore::open_read_only(directory)?;
        let store = Arc::new(OpenStore {
            store,
            origin: origin.clone(),
        });
        let (chains, images) = chains_of(&store)?;
        Ok(Some(Shelf {
            index,
            origin: origin.clone(),
            chains,
            images,
        }))
    }
}

/// Every chain whose layers are all there.
fn chains_of(store: &Arc<OpenStore>) -> Result<(HashMap<Digest, Candidate>, usize)> {
    let mut chains = HashMap::new();
    let mut whole = 0;
    for image in stored_images(&store.store.top_file(INDEX)?)? {
        match add_image(store, &image.manifest, &mut chains) {
            Ok(()) => whole += 1,
            // The others are not to blame.
            Err(error) => tracing::warn!(
                image = %image.reference,
                error = %chain(&error),
                "an image of a store cannot be read; its layers are pulled"
            ),
        }
    }
    Ok((chains, whole))
}

fn add_image(store: &Arc<OpenStore>, manifest: &Digest, chains: &mut HashMap<Digest, Candidate>) -> Result<()> {
    let diff_ids = image_diff_ids(&store.store, manifest)?;
    let mut below = None;
    for (diff_id, chain_id) in diff_ids.iter().zip(chain_ids(&diff_ids)) {
        if !chains.contains_key(&chain_id) {
            let layer = Part::Layer(diff_id.clone());
            let record = store.store.layer(diff_id).map_err(Error::from);
            let record = record.inspect_err(|error| repair_after(store, &layer, error))?;
            let record = record.ok_or_else(|| Error::NotFound(format!("{layer} in {}", store.store.location())))?;
            let mut parts = vec![layer];
            let patch = Part::Patch(chain_id.clone());
            let patched = store.store.patch(&chain_id).map_err(Error::from);
            if patched
                .inspect_err(|error| repair_after(store, &patch, error))?
                .is_some()
            {
                parts.insert(0, patch);
            }
            let layer = CachedLayer {
                chain_id: chain_id.clone(),
                parts,
                hides_below: record.root_is_opaque,
            };
            let candidate = Candidate {
                store: Arc::clone(store),
                layer,
                below: below.clone(),
            };
            chains.insert(chain_id.clone(), candidate);
        }
        below = Some(chain_id);
    }
    Ok(())
}
