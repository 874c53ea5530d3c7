//! Reading the blocks of a volume from the files that hold them.

use crate::block::{BLOCK_BYTES, BlockDigest};
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::{Extent, SnapshotManifest, Source};
use crate::snapshot_store::{
    BlockVisitor, Collected, FinishedVolume, PartFeed, PlacedPart, Published, SnapshotStore, UnfinishedVolume,
    UploadWatch,
};
use crate::store::{ReadAt, Store, read_full};
use crate::{BLOCK, DirectoryStore};

/// Reads any block of a volume, from any thread.
pub struct VolumeReader {
    extents: Vec<OpenExtent>,
}

struct OpenExtent {
    extent: Extent,
    source: Box<dyn ReadAt>,
    name: String,
    /// Block of the source at which the extent starts.
    base: u64,
}

impl std::fmt::Debug for VolumeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeReader")
            .field("extents", &self.extents.len())
            .finish()
    }
}

impl VolumeReader {
    /// Opens every file that holds blocks of the volume. They stay readable when the cache is deleted.
    pub fn open(store: &dyn Store, manifest: &SnapshotManifest) -> Result<Self> {
        let open = |extent: &Extent| -> Result<OpenExtent> {
            let (source, name, base) = match extent.source.part() {
                Some(part) => (store.open_part(&part)?, part.image_path().display().to_string(), 0),
                None => {
                    let name = format!("volume of {}", manifest.id);
                    (store.open_own(&manifest.id)?, name, extent.first_block)
                }
            };
            Ok(OpenExtent {
                extent: extent.clone(),
                source,
                name,
                base,
            })
        };
        Ok(Self {
            extents: manifest.extents.iter().map(open).collect::<Result<_>>()?,
        })
    }

    /// Opens one part of a volume that is not finished.
    pub fn of_part(store: &dyn Store, placed: &PlacedPart) -> Result<Self> {
        let extent = Extent {
            first_block: placed.first_block,
            blocks: placed.digests.len() as u64,
            source: Source::from(&placed.part),
        };
        let open = OpenExtent {
            extent,
            source: store.open_part(&placed.part)?,
            name: placed.part.image_path().display().to_string(),
            base: 0,
        };
        Ok(Self { extents: vec![open] })
    }

    /// Fills `buffer`, which is one block long, with block `index`. What no file holds is zero. Nothing is checked.
    pub fn read(&self, index: u64, buffer: &mut [u8]) -> Result<()> {
        match self.find(index) {
            Some((open, place)) => read_block(open.source.as_ref(), place * BLOCK_BYTES, buffer).at("read", &open.name),
            None => {
                buffer.fill(0);
                Ok(())
            }
        }
    }

    /// The file that holds block `index`, and the block's number in it.
    pub fn place(&self, index: u64) -> Option<(&str, u64)> {
        self.find(index).map(|(open, place)| (open.name.as_str(), place))
    }

    fn find(&self, index: u64) -> Option<(&OpenExtent, u64)> {
        let after = self.extents.partition_point(|open| open.extent.first_block <= index);
        let open = self.extents.get(after.checked_sub(1)?)?;
        let inside = index - open.extent.first_block;
        (inside < open.extent.blocks).then_some((open, open.base + inside))
    }
}

/// Reads one block; what lies beyond the end is zero.
pub(crate) fn read_block(source: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    let count = read_full(source, offset, buffer)?;
    if let Some(rest) = buffer.get_mut(count..) {
        rest.fill(0);
    }
    Ok(())
}

/// The directory keeps its volumes by reference, so there is nothing to send, and its own collector removes them.
impl SnapshotStore for DirectoryStore {
    fn send_ahead(&self, _: &UnfinishedVolume<'_>, _: &dyn PartFeed, _: &dyn UploadWatch) -> Result<()> {
        Ok(())
    }

    fn publish(&self, _: &FinishedVolume<'_>, _: &dyn UploadWatch) -> Result<Option<Published>> {
        Ok(None)
    }

    fn read_back(
        &self,
        store: &DirectoryStore,
        manifest: &SnapshotManifest,
        _: Option<&Published>,
        visitor: &dyn BlockVisitor,
    ) -> Result<()> {
        let reader = VolumeReader::open(store, manifest)?;
        let mut buffer = vec![0; BLOCK];
        for extent in &manifest.extents {
            for index in extent.first_block..extent.first_block + extent.blocks {
                reader.read(index, &mut buffer)?;
                if manifest.digest(index) == Some(BlockDigest::of(&buffer)) {
                    visitor.block(index, &buffer)?;
                } else {
                    let (name, place) = reader.place(index).unwrap_or_default();
                    let reason = format!("it does not have the digest that {} lists", manifest.id);
                    visitor.damaged(name, place, &reason)?;
                }
            }
        }
        Ok(())
    }

    fn collect(&self, _: &DirectoryStore) -> Result<Collected> {
        let removed = self.collect_garbage()?.snapshots;
        Ok(Collected { removed, left: 0 })
    }
}

/// What a wrong block is, as an error.
pub(crate) fn damaged_block(place: &str, index: u64, reason: &str) -> Error {
    Error::damaged(place, format!("block {index}: {reason}"))
}
