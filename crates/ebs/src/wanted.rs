//! Which blocks a snapshot must be sent. Pure.
//!
//! What is left out is either equal in the parent, or a block that nothing in the filesystem points at: an unwritten block
//! reads as zeros, in an encrypted snapshot as garbage, and on top of a parent as the parent's. Blocks of zeros that a file
//! maps to are therefore sent like all others; there are few, and then encryption makes no difference.

use std::collections::BTreeMap;

use imagecache_blocks::{BLOCK_BYTES, BlockDigest, SnapshotManifest};

/// Volumes are whole GiB, at least one (EBS direct APIs).
const GIB: u64 = 1 << 30;

/// Size of the device for a volume of `bytes` on top of one of `parent_bytes`. A device never shrinks along a lineage.
pub(crate) fn device_bytes(bytes: u64, parent_bytes: Option<u64>) -> u64 {
    let rounded = bytes.max(1).next_multiple_of(GIB);
    rounded.max(parent_bytes.unwrap_or(0))
}

/// Index and digest of every block that a snapshot of `manifest` with `device_bytes` must be sent on top of `parent`, which
/// is the parent's manifest and the size of its device.
pub(crate) fn wanted_blocks(
    manifest: &SnapshotManifest,
    device_bytes: u64,
    parent: Option<(&SnapshotManifest, u64)>,
) -> BTreeMap<u64, BlockDigest> {
    let mut wanted = known_blocks(manifest, device_bytes);
    let Some((parent, parent_bytes)) = parent else {
        return wanted;
    };
    for (index, inherited) in known_blocks(parent, parent_bytes) {
        match wanted.get(&index) {
            Some(digest) if *digest == inherited => {
                wanted.remove(&index);
            }
            Some(_) => {}
            // Nothing points at it any more. It would still hold the parent's bytes.
            None if inherited != BlockDigest::ZERO => {
                wanted.insert(index, BlockDigest::ZERO);
            }
            None => {}
        }
    }
    wanted
}

/// The blocks whose content is certain: those that the filesystem uses, and both ends of the device, where systems look for
/// other filesystems and partition tables.
pub(crate) fn known_blocks(manifest: &SnapshotManifest, device_bytes: u64) -> BTreeMap<u64, BlockDigest> {
    let last = (device_bytes / BLOCK_BYTES).saturating_sub(1);
    let mapped = manifest
        .extents
        .iter()
        .flat_map(|extent| extent.first_block..extent.first_block + extent.blocks);
    [0, last]
        .into_iter()
        .chain(mapped)
        .map(|index| (index, manifest.digest(index).unwrap_or(BlockDigest::ZERO)))
        .collect()
}

#[cfg(test)]
mod tests {
    use imagecache_blocks::{Extent, Source};
    use imagecache_core::Digest;
    use proptest::prelude::*;

    use super::*;

    /// Few indexes and contents, so that collisions are many. 0 is a block of zeros that a file maps to.
    type Content = BTreeMap<u64, u8>;

    fn digest(byte: u8) -> BlockDigest {
        match byte {
            0 => BlockDigest::ZERO,
            other => BlockDigest::of(&[other]),
        }
    }

    fn manifest(content: &Content) -> SnapshotManifest {
        let count = content.keys().max().map_or(1, |last| last + 1);
        let mut blocks = vec![BlockDigest::ZERO; usize::try_from(count).unwrap()];
        for (index, byte) in content {
            blocks[usize::try_from(*index).unwrap()] = digest(*byte);
        }
        let extent = |index: &u64| Extent {
            first_block: *index,
            blocks: 1,
            source: Source::Own,
        };
        SnapshotManifest::new(blocks, content.keys().map(extent).collect(), Digest::sha256_of(b""))
    }

    /// What an encrypted volume reads where nothing was ever written.
    fn garbage() -> BlockDigest {
        BlockDigest::of(b"garbage")
    }

    fn contents() -> impl Strategy<Value = Vec<Content>> {
        let content = prop::collection::btree_map(0_u64..12, 0_u8..4, 1..10).prop_map(|mut content| {
            content.entry(0).or_insert(9);
            content
        });
        prop::collection::vec(content, 1..6)
    }

    proptest! {
        /// Along any lineage, encrypted or not: what a file maps to is right, and what was ever written and is no longer
        /// mapped is zero.
        #[test]
        fn every_mapped_block_reads_right(lineage in contents()) {
            let mut device: BTreeMap<u64, BlockDigest> = BTreeMap::new();
            let mut parent: Option<(SnapshotManifest, u64)> = None;
            for content in &lineage {
                let manifest = manifest(content);
                let bytes = device_bytes(manifest.volume_bytes, parent.as_ref().map(|(_, bytes)| *bytes));
                let on_top = parent.as_ref().map(|(manifest, bytes)| (manifest, *bytes));
                let sent = wanted_blocks(&manifest, bytes, on_top);
                for (index, digest) in &sent {
                    prop_assert!(device.get(index) != Some(digest) || *digest == BlockDigest::ZERO || on_top.is_none(), "block {} is sent for nothing", index);
                    device.insert(*index, *digest);
                }
                for (index, byte) in content {
                    prop_assert_eq!(device.get(index).copied().unwrap_or_else(garbage), digest(*byte), "block {}", index);
                }
                for (index, found) in &device {
                    prop_assert!(content.contains_key(index) || *found == BlockDigest::ZERO, "block {} is left over", index);
                }
                let last = bytes / BLOCK_BYTES - 1;
                prop_assert!(device.contains_key(&0) && device.contains_key(&last));
                parent = Some((manifest, bytes));
            }
        }
    }

    #[test]
    fn devices_are_whole_gib_and_never_shrink() {
        for (bytes, parent, expected) in [
            (BLOCK_BYTES, None, GIB),
            (GIB, None, GIB),
            (GIB + BLOCK_BYTES, None, 2 * GIB),
            (GIB, Some(3 * GIB), 3 * GIB),
            (4 * GIB, Some(3 * GIB), 4 * GIB),
        ] {
            assert_eq!(device_bytes(bytes, parent), expected, "{bytes} on {parent:?}");
        }
    }

    #[test]
    fn an_equal_volume_sends_nothing() {
        let manifest = manifest(&Content::from([(0, 1), (3, 2), (4, 0)]));
        assert_eq!(wanted_blocks(&manifest, GIB, None).len(), 4, "three and the last block");
        assert!(wanted_blocks(&manifest, GIB, Some((&manifest, GIB))).is_empty());
    }
}
