//! A snapshot: the immutable list of a volume's blocks, and where their bytes are.

use std::fmt;
use std::str::FromStr;

use imagecache_core::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::block::{BLOCK_BYTES, BlockDigest};
use crate::part::Part;

/// Version of the manifest format.
pub(crate) const MANIFEST_VERSION: u32 = 1;
const ID_PREFIX: &str = "snap-";
/// 80 bits of the content's hash: no two volumes ever meet.
const ID_CHARS: usize = 20;

/// `snap-` and 20 hexadecimal characters of the hash of the volume's size and blocks: equal content, equal id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// The id of a volume with these blocks.
    pub fn of(volume_bytes: u64, blocks: &[BlockDigest]) -> Self {
        let mut hash = Sha256::new();
        hash.update(volume_bytes.to_le_bytes());
        blocks.iter().for_each(|block| hash.update(block.as_bytes()));
        let mut hex = hex::encode(hash.finalize());
        hex.truncate(ID_CHARS);
        Self(format!("{ID_PREFIX}{hex}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = text.strip_prefix(ID_PREFIX).is_some_and(|rest| {
            rest.len() == ID_CHARS && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        let wrong = || format!("`{text}` is not a snapshot id, which is `snap-` and 20 characters of 0-9 and a-f");
        valid.then(|| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Where the bytes of an extent are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In the volume's own file, at the same place as in the volume.
    Own,
    /// In a layer image, from its first block on.
    Layer(Digest),
    /// In a patch image, from its first block on.
    Patch(Digest),
}

impl Source {
    /// The part that holds the bytes, if it is one.
    pub fn part(&self) -> Option<Part> {
        match self {
            Self::Own => None,
            Self::Layer(digest) => Some(Part::Layer(digest.clone())),
            Self::Patch(digest) => Some(Part::Patch(digest.clone())),
        }
    }
}

impl From<&Part> for Source {
    fn from(part: &Part) -> Self {
        match part {
            Part::Layer(digest) => Self::Layer(digest.clone()),
            Part::Patch(digest) => Self::Patch(digest.clone()),
        }
    }
}

/// Consecutive blocks of a volume whose bytes are in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// First block, in units of 512 KiB.
    pub first_block: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Where their bytes are.
    pub source: Source,
}

/// An immutable volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    /// Version of this format.
    pub version: u32,
    /// Name, computed from size and blocks.
    pub id: SnapshotId,
    /// Size of the volume; a multiple of the block size.
    pub volume_bytes: u64,
    /// SHA-256 of each block, in order.
    pub blocks: Vec<BlockDigest>,
    /// Where bytes are, ascending and without overlap. Blocks in no extent are zero.
    pub extents: Vec<Extent>,
    /// Digest of the `index.json` that the volume holds: which images it was made for.
    pub index: Digest,
}

impl SnapshotManifest {
    /// A manifest of the current version.
    pub fn new(blocks: Vec<BlockDigest>, extents: Vec<Extent>, index: Digest) -> Self {
        let volume_bytes = blocks.len() as u64 * BLOCK_BYTES;
        Self {
            version: MANIFEST_VERSION,
            id: SnapshotId::of(volume_bytes, &blocks),
            volume_bytes,
            blocks,
            extents,
            index,
        }
    }

    /// Says what is inconsistent, if anything is: id, size, order of extents.
    pub fn problem(&self) -> Option<String> {
        if self.version != MANIFEST_VERSION {
            return Some(format!("its version is {}, known is {MANIFEST_VERSION}", self.version));
        }
        if self.volume_bytes != self.blocks.len() as u64 * BLOCK_BYTES {
            return Some(format!(
                "{} bytes do not make {} blocks",
                self.volume_bytes,
                self.blocks.len()
            ));
        }
        if self.id != SnapshotId::of(self.volume_bytes, &self.blocks) {
            return Some("its block list does not make its id".to_owned());
        }
        let mut end = 0;
        for extent in &self.extents {
            let next = extent.first_block.checked_add(extent.blocks);
            match next.filter(|next| extent.first_block >= end && *next <= self.blocks.len() as u64) {
                Some(next) => end = next,
                None => {
                    return Some(format!(
                        "its extent at block {} overlaps or is too long",
                        extent.first_block
                    ));
                }
            }
        }
        None
    }

    /// Digest of block `index`; `None` beyond the end.
    pub fn digest(&self, index: u64) -> Option<BlockDigest> {
        self.blocks.get(usize::try_from(index).ok()?).copied()
    }

    /// The parts that hold bytes of the volume.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Extent)> {
        self.extents
            .iter()
            .filter_map(|extent| Some((extent.source.part()?, extent)))
    }

    /// Bytes of the volume that are not zero by construction.
    pub fn content_bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.blocks * BLOCK_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(extents: Vec<Extent>) -> SnapshotManifest {
        SnapshotManifest::new(vec![BlockDigest::ZERO; 4], extents, Digest::sha256_of(b""))
    }

    fn extent(first_block: u64, blocks: u64) -> Extent {
        Extent {
            first_block,
            blocks,
            source: Source::Own,
        }
    }

    #[test]
    fn problems_are_named() {
        for (name, extents, problem) in [
            ("good", vec![extent(0, 1), extent(2, 2)], None),
            ("overlap", vec![extent(0, 2), extent(1, 1)], Some("block 1")),
            ("too long", vec![extent(3, 2)], Some("block 3")),
            ("absurd", vec![extent(1, u64::MAX)], Some("block 1")),
        ] {
            let found = manifest(extents).problem();
            match problem {
                None => assert_eq!(found, None, "{name}"),
                Some(part) => assert!(found.as_deref().unwrap_or_default().contains(part), "{name}: {found:?}"),
            }
        }
        let mut changed = manifest(vec![]);
        changed.blocks[2] = BlockDigest::of(b"x");
        assert!(changed.problem().unwrap().contains("id"));
    }

    #[test]
    fn ids_parse_back() {
        let id = manifest(vec![]).id;
        assert_eq!(id.as_str().parse::<SnapshotId>(), Ok(id));
        for bad in ["snap-", "snap-../../x", "snap-00000000000000000000/", "x"] {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad}");
        }
    }
}
