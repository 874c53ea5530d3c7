//! Making a volume of parts that a store has: metadata is written, parts are only pointed to.

use std::collections::BTreeMap;
use std::path::Path;

use imagecache_core::Digest;
use imagecache_erofs::{Attributes, Content, Kind, Plan, Superblock, Tree, header_blocks};
use sha2::{Digest as _, Sha256};

use crate::block::{BLOCK, BLOCK_BYTES, BlockDigest};
use crate::cache_record::ImageRecord;
use crate::content::{INDEX_FILE, OCI_LAYOUT, index_json};
use crate::directory::{MARKER, marker_json};
use crate::error::{Error, Result};
use crate::part::Part;
use crate::placement::{HEAD_GROWTH, PartSize, Placement, plan_volume};
use crate::record::PartRecord;
use crate::snapshot::{Extent, SnapshotManifest, Source};
use crate::store::Store;

/// Block of the filesystem, as the superblock counts.
const SMALL_BLOCK: u64 = imagecache_erofs::BLOCK_BYTES;
const LABEL: &str = "imagecache";
const FILE_MODE: u16 = 0o644;

/// What a volume is to hold.
#[derive(Clone, Debug, Default)]
pub struct VolumeContent {
    /// The images, in any order.
    pub images: Vec<ImageRecord>,
    /// Their manifests, configs and indexes.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// Their layers and patches, in the order in which they should lie.
    pub parts: Vec<VolumePart>,
    /// The room that was left at the front when parts got their places before all were there.
    pub head: Option<Head>,
}

/// What is known of the front of a volume before its parts are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the superblock and what goes with it.
    pub header_bytes: u64,
    /// Blocks that parts leave free at the front.
    pub blocks: u64,
}

/// Bytes of metadata for a block of a part (its digest in the part's record), for a part, and for a volume without any.
const BYTES_PER_BLOCK: u64 = 67;
const BYTES_PER_PART: u64 = 4_096;
const BYTES_AT_LEAST: u64 = 64 * 1024;

impl Head {
    /// Room for the metadata of some `parts`, about `part_bytes` long together, and for blobs. Metadata that turns out to be
    /// larger goes behind the parts.
    pub fn for_parts(parts: usize, part_bytes: u64, blob_bytes: u64) -> Self {
        let header_bytes = u64::from(header_blocks(parts)) * SMALL_BLOCK;
        let digests = part_bytes.div_ceil(BLOCK_BYTES).saturating_mul(BYTES_PER_BLOCK);
        let metadata = digests + parts as u64 * BYTES_PER_PART + blob_bytes + BYTES_AT_LEAST;
        let blocks = (header_bytes + metadata).div_ceil(BLOCK_BYTES) * HEAD_GROWTH;
        Self { header_bytes, blocks }
    }
}

/// A part and its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePart {
    /// The part.
    pub part: Part,
    /// Its record.
    pub record: PartRecord,
}

impl From<PartRecord> for VolumePart {
    fn from(record: PartRecord) -> Self {
        Self {
            part: record.part(),
            record,
        }
    }
}

/// Lays out a volume of `content`, writes its own bytes and its manifest to `store`, and returns the manifest.
///
/// The same content on top of the same `previous` gives the same bytes and so the same id. No byte of a part is read or
/// copied: the digests of their blocks are known from their records.
///
/// # Errors
/// Fails when a part is not in the format's reach (16 TiB), or the store cannot be written.
pub fn write_snapshot(
    store: &dyn Store,
    content: &VolumeContent,
    previous: Option<&SnapshotManifest>,
) -> Result<SnapshotManifest> {
    let failed = |source| Error::image("cannot lay out the volume", source);
    let index = index_json(&content.images);
    let parts = unique(&content.parts);
    let sizes: Vec<PartSize> = parts
        .iter()
        .map(|part| PartSize {
            part: part.part.clone(),
            bytes: part.record.blocks().bytes,
        })
        .collect();
    let header_bytes = u64::from(header_blocks(parts.len())) * SMALL_BLOCK;
    // The size of the metadata does not depend on where parts lie, so it can be measured first.
    let anywhere = Placement {
        volume_blocks: 0,
        metadata_offset: 0,
        parts: Vec::new(),
    };
    let draft = build_tree(content, &parts, &index, &anywhere)?;
    let metadata_bytes = u64::from(Plan::new(&draft).map_err(failed)?.blocks()) * SMALL_BLOCK;
    let placement = plan_volume(
        previous,
        &sizes,
        header_bytes,
        metadata_bytes,
        content.head.map(|head| head.blocks),
    );
    let tree = build_tree(content, &parts, &index, &placement)?;
    let plan = Plan::new(&tree).map_err(failed)?;
    let mut metadata = Vec::with_capacity(usize::try_from(metadata_bytes).unwrap_or(0));
    let metadata_block = small_block(placement.metadata_offset)?;
    plan.write(metadata_block, &mut metadata).map_err(failed)?;
    let superblock = Superblock {
        uuid: uuid_of(&metadata),
        blocks: small_block(placement.volume_blocks * BLOCK_BYTES)?,
        meta_block: metadata_block,
        inodes: plan.inodes(),
        label: LABEL.to_owned(),
    };
    let own = vec![(0, superblock.to_block()), (placement.metadata_offset, metadata)];
    let manifest = manifest_of(&placement, &parts, &own, &index)?;
    store.put_snapshot(&manifest, &own)?;
    Ok(manifest)
}

/// Each part once, in the order of its first mention.
fn unique(parts: &[VolumePart]) -> Vec<&VolumePart> {
    let mut seen = std::collections::BTreeSet::new();
    parts.iter().filter(|part| seen.insert(&part.part)).collect()
}

fn build_tree(content: &VolumeContent, parts: &[&VolumePart], index: &[u8], placement: &Placement) -> Result<Tree> {
    let failed = |source| Error::image("cannot lay out the volume", source);
    let mut tree = Tree::new(&Attributes::directory()).map_err(failed)?;
    let mut add = |path: &Path, content: Content| -> Result<()> {
        let text = path.to_string_lossy();
        let (parents, name) = text.rsplit_once('/').unwrap_or(("", &text));
        let parent = tree
            .make_directories(parents.as_bytes(), &Attributes::directory())
            .map_err(failed)?;
        let kind = Kind::Regular(content);
        tree.add(parent, name.as_bytes(), &Attributes::with_mode(FILE_MODE), kind)
            .map_err(failed)?;
        Ok(())
    };
    add(Path::new(MARKER), Content::Bytes(marker_json()))?;
    add(Path::new(OCI_LAYOUT.0), Content::Bytes(OCI_LAYOUT.1.to_vec()))?;
    add(Path::new(INDEX_FILE), Content::Bytes(index.to_vec()))?;
    for (digest, bytes) in &content.blobs {
        let path = Path::new("blobs").join(digest.algorithm().as_str()).join(digest.hex());
        add(&path, Content::Bytes(bytes.clone()))?;
    }
    let places: BTreeMap<&Part, u64> = placement
        .parts
        .iter()
        .map(|placed| (&placed.part, placed.first_block))
        .collect();
    for part in parts {
        let size = part.record.blocks().bytes;
        let first = places.get(&part.part).copied().unwrap_or(0);
        let start_block = small_block(first * BLOCK_BYTES)?;
        add(&part.part.image_path(), Content::Extent { start_block, size })?;
        let json = part
            .record
            .to_json()
            .map_err(|error| Error::damaged(part.part.record_path(), error.to_string()))?;
        add(&part.part.record_path(), Content::Bytes(json))?;
    }
    Ok(tree)
}

fn manifest_of(
    placement: &Placement,
    parts: &[&VolumePart],
    own: &[(u64, Vec<u8>)],
    index: &[u8],
) -> Result<SnapshotManifest> {
    let count = usize::try_from(placement.volume_blocks).map_err(|_| too_large())?;
    let mut blocks = vec![BlockDigest::ZERO; count];
    let mut extents: Vec<Extent> = Vec::new();
    for placed in &placement.parts {
        let record = parts
            .iter()
            .find(|part| part.part == placed.part)
            .map(|part| part.record.blocks());
        let digests = record.map(|blocks| blocks.digests.as_slice()).unwrap_or_default();
        let first = usize::try_from(placed.first_block).map_err(|_| too_large())?;
        for (slot, digest) in blocks.iter_mut().skip(first).zip(digests) {
            *slot = *digest;
        }
        let source = Source::from(&placed.part);
        extents.push(Extent {
            first_block: placed.first_block,
            blocks: placed.blocks,
            source,
        });
    }
    // The pieces of the volume's own bytes, cut into blocks; header and metadata may share one.
    let mut filled: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (offset, bytes) in own {
        let mut at = *offset;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let inside = usize::try_from(at % BLOCK_BYTES).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(BLOCK - inside));
            let block = filled.entry(at / BLOCK_BYTES).or_insert_with(|| vec![0; BLOCK]);
            if let Some(target) = block.get_mut(inside..inside + now.len()) {
                target.copy_from_slice(now);
            }
            at += now.len() as u64;
            rest = later;
        }
    }
    for (number, bytes) in filled {
        let slot = usize::try_from(number).ok().and_then(|number| blocks.get_mut(number));
        if let Some(slot) = slot {
            *slot = BlockDigest::of(&bytes);
        }
        match extents.last_mut() {
            Some(last) if last.source == Source::Own && last.first_block + last.blocks == number => last.blocks += 1,
            _ => extents.push(Extent {
                first_block: number,
                blocks: 1,
                source: Source::Own,
            }),
        }
    }
    extents.sort_by_key(|extent| extent.first_block);
    Ok(SnapshotManifest::new(blocks, extents, Digest::sha256_of(index)))
}

/// A byte offset in blocks of 4 KiB.
fn small_block(offset: u64) -> Result<u32> {
    u32::try_from(offset / SMALL_BLOCK).map_err(|_| too_large())
}

fn too_large() -> Error {
    Error::Unsupported("the volume would be larger than 16 TiB, the most that its filesystem can address".to_owned())
}

/// Identity from the metadata, which names every part and blob by digest.
fn uuid_of(metadata: &[u8]) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(metadata).into();
    let mut uuid = [0; 16];
    uuid.iter_mut().zip(hash).for_each(|(target, byte)| *target = byte);
    uuid
}
