//! Where each part goes in a volume. Pure.
//!
//! A part that the previous volume of the cache had keeps its place, so that an index-wise comparison of the two finds
//! equal blocks at equal indexes. Other parts go into the first gap that holds them, else to the end.

use crate::block::BLOCK_BYTES;
use crate::part::Part;
use crate::snapshot::SnapshotManifest;

/// Room at the front is this many times what the metadata needs now, so that a rebuilt cache with more layers still
/// finds its metadata at the front. Unused blocks are zero and cost nothing.
pub(crate) const HEAD_GROWTH: u64 = 2;

/// A part and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSize {
    /// The part.
    pub part: Part,
    /// Size of its image in bytes.
    pub bytes: u64,
}

/// Where a part lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The part.
    pub part: Part,
    /// First block, in units of 512 KiB.
    pub first_block: u64,
    /// Number of blocks.
    pub blocks: u64,
}

/// The layout of a volume. Block 0 holds the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Size of the volume in blocks of 512 KiB.
    pub volume_blocks: u64,
    /// Byte offset of the metadata.
    pub metadata_offset: u64,
    /// The parts in the order given.
    pub parts: Vec<Placed>,
}

/// Gives parts their places one after the other. The place of a part depends on those before it, on what is kept of the
/// previous volume and on the room at the front, but on nothing that comes later: so it is known, and the part can be sent
/// somewhere, while later parts are still being made.
#[derive(Clone, Debug)]
pub struct Placer {
    /// Sorted.
    taken: Vec<(u64, u64)>,
    kept: Vec<(Part, u64)>,
    /// Blocks at the front that parts leave free.
    reserved: u64,
}

impl Placer {
    /// For a volume in which the `coming` parts may be, in order, with their numbers of blocks where these are known already.
    /// Those that `previous` holds, with as many blocks, keep their place. When none does, `front` blocks are left free.
    pub fn new(
        previous: Option<&SnapshotManifest>,
        coming: &[(Part, Option<u64>)],
        header_bytes: u64,
        front: u64,
    ) -> Self {
        let header_blocks = header_bytes.div_ceil(BLOCK_BYTES).max(1);
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let mut kept = Vec::new();
        for (part, blocks) in coming {
            let Some((first, length)) = previous.and_then(|manifest| place_in(manifest, part)) else {
                continue;
            };
            let fits = blocks.is_none_or(|blocks| blocks == length) && first >= header_blocks;
            if fits && !taken.iter().any(|(at, _)| *at == first) {
                taken.push((first, length));
                kept.push((part.clone(), first));
            }
        }
        // The front is as it was; metadata that outgrew it goes to a gap.
        let reserved = taken
            .iter()
            .map(|(first, _)| *first)
            .min()
            .unwrap_or(front.max(header_blocks));
        taken.push((0, reserved));
        taken.sort_unstable();
        Self { taken, kept, reserved }
    }

    /// Where the part goes: where it was, or into the first gap, or to the end. To be asked once for each part, in order.
    pub fn place(&mut self, part: &Part, blocks: u64) -> u64 {
        match self.kept_place(part) {
            Some(first) => first,
            None => take_gap(&mut self.taken, blocks),
        }
    }

    /// Where the part lies because it lay there before; this depends on no other part.
    pub fn kept_place(&self, part: &Part) -> Option<u64> {
        let kept = self.kept.iter().find(|(kept, _)| kept == part);
        kept.map(|(_, first)| *first)
    }

    /// End of what is taken so far, in blocks.
    pub fn end(&self) -> u64 {
        self.taken
            .iter()
            .map(|(first, blocks)| first + blocks)
            .max()
            .unwrap_or(0)
    }
}

/// Lays out a volume of `parts` with a header of `header_bytes` and `metadata_bytes` of metadata. `front` is the number of
/// blocks that are left free for both when no part keeps an old place; by default some more than they need.
///
/// Parts that `previous` holds with the same number of blocks keep their place. A part named twice is placed once.
pub fn plan_volume(
    previous: Option<&SnapshotManifest>,
    parts: &[PartSize],
    header_bytes: u64,
    metadata_bytes: u64,
    front: Option<u64>,
) -> Placement {
    let header_blocks = header_bytes.div_ceil(BLOCK_BYTES).max(1);
    let head_blocks = (header_bytes + metadata_bytes).div_ceil(BLOCK_BYTES).max(header_blocks);
    let coming: Vec<(Part, Option<u64>)> = parts
        .iter()
        .map(|size| (size.part.clone(), Some(size.bytes.div_ceil(BLOCK_BYTES))))
        .collect();
    let mut placer = Placer::new(
        previous,
        &coming,
        header_bytes,
        front.unwrap_or(HEAD_GROWTH * head_blocks),
    );
    let mut done: Vec<Placed> = Vec::with_capacity(parts.len());
    for size in parts {
        if done.iter().any(|placed| placed.part == size.part) {
            continue;
        }
        let blocks = size.bytes.div_ceil(BLOCK_BYTES);
        let first_block = placer.place(&size.part, blocks);
        done.push(Placed {
            part: size.part.clone(),
            first_block,
            blocks,
        });
    }
    let metadata_offset = if head_blocks <= placer.reserved {
        header_bytes
    } else {
        take_gap(&mut placer.taken, metadata_bytes.div_ceil(BLOCK_BYTES)) * BLOCK_BYTES
    };
    Placement {
        volume_blocks: placer.end(),
        metadata_offset,
        parts: done,
    }
}

/// First block and number of blocks of the part in `manifest`.
fn place_in(manifest: &SnapshotManifest, part: &Part) -> Option<(u64, u64)> {
    let (_, extent) = manifest.parts().find(|(found, _)| found == part)?;
    Some((extent.first_block, extent.blocks))
}

/// Takes the first gap of `blocks` between the sorted `taken`, or the end.
fn take_gap(taken: &mut Vec<(u64, u64)>, blocks: u64) -> u64 {
    let mut end = 0;
    let mut at = taken.len();
    for (index, (first, length)) in taken.iter().enumerate() {
        if first.saturating_sub(end) >= blocks && *first >= end {
            at = index;
            break;
        }
        end = end.max(first + length);
    }
    taken.insert(at, (end, blocks));
    end
}

#[cfg(test)]
mod tests {
    use imagecache_core::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::block::BlockDigest;
    use crate::snapshot::{Extent, Source};

    const HEADER: u64 = 4096;

    fn part(number: u64) -> Part {
        Part::Layer(Digest::sha256_of(&number.to_le_bytes()))
    }

    fn sizes(list: &[(u64, u64)]) -> Vec<PartSize> {
        list.iter()
            .map(|(number, blocks)| PartSize {
                part: part(*number),
                bytes: blocks * BLOCK_BYTES - 4096,
            })
            .collect()
    }

    fn manifest(placement: &Placement) -> SnapshotManifest {
        let extent = |placed: &Placed| Extent {
            first_block: placed.first_block,
            blocks: placed.blocks,
            source: Source::from(&placed.part),
        };
        let mut extents: Vec<Extent> = placement.parts.iter().map(extent).collect();
        extents.sort_by_key(|extent| extent.first_block);
        let blocks = vec![BlockDigest::ZERO; usize::try_from(placement.volume_blocks).unwrap()];
        SnapshotManifest::new(blocks, extents, Digest::sha256_of(b""))
    }

    /// Everything that the plan takes, with header and metadata, in order.
    fn ranges(plan: &Placement, metadata: u64) -> Vec<(u64, u64)> {
        let mut all: Vec<(u64, u64)> = plan
            .parts
            .iter()
            .map(|p| (p.first_block * BLOCK_BYTES, (p.first_block + p.blocks) * BLOCK_BYTES))
            .collect();
        all.push((0, HEADER));
        all.push((plan.metadata_offset, plan.metadata_offset + metadata));
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_kept_parts_stay(
            old in prop::collection::btree_map(0_u64..40, 1_u64..9, 0..20),
            new in prop::collection::btree_map(0_u64..40, 1_u64..9, 0..20),
            old_metadata in 1_u64..3_000_000,
            new_metadata in 1_u64..9_000_000,
        ) {
            // Sizes are a property of the content: the same part has the same size in both.
            let size = |number: &u64, blocks: &u64| (*number, *old.get(number).unwrap_or(blocks));
            let old_sizes = sizes(&old.iter().map(|(n, b)| size(n, b)).collect::<Vec<_>>());
            let new_sizes = sizes(&new.iter().map(|(n, b)| size(n, b)).collect::<Vec<_>>());
            let first = plan_volume(None, &old_sizes, HEADER, old_metadata, None);
            let previous = manifest(&first);
            prop_assert_eq!(previous.problem(), None);
            let second = plan_volume(Some(&previous), &new_sizes, HEADER, new_metadata, None);
            for (plan, metadata, parts) in [(&first, old_metadata, &old_sizes), (&second, new_metadata, &new_sizes)] {
                let all = ranges(plan, metadata);
                prop_assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0), "overlap in {:?}", all);
                prop_assert!(all.iter().all(|range| range.1 <= plan.volume_blocks * BLOCK_BYTES));
                prop_assert_eq!(plan.parts.len(), parts.len());
            }
            for placed in &second.parts {
                if let Some(before) = first.parts.iter().find(|p| p.part == placed.part) {
                    prop_assert_eq!(before.first_block, placed.first_block);
                }
            }
            prop_assert_eq!(plan_volume(Some(&previous), &old_sizes, HEADER, old_metadata, None), first);
        }
    }

    proptest! {
        /// While parts get ready, not knowing the sizes of later ones: the places are those of the finished volume.
        #[test]
        fn places_are_known_before_later_parts_are(
            old in prop::collection::btree_map(0_u64..20, 1_u64..9, 0..10),
            new in prop::collection::btree_map(0_u64..20, 1_u64..9, 1..10),
            metadata in 1_u64..9_000_000,
            front in 0_u64..30,
        ) {
            let old_sizes = sizes(&old.iter().map(|(n, b)| (*n, *b)).collect::<Vec<_>>());
            let new: Vec<(u64, u64)> = new.iter().map(|(n, b)| (*n, *old.get(n).unwrap_or(b))).collect();
            let previous = manifest(&plan_volume(None, &old_sizes, HEADER, 1000, None));
            for previous in [None, Some(&previous)] {
                let finished = plan_volume(previous, &sizes(&new), HEADER, metadata, Some(front));
                let all = ranges(&finished, metadata);
                prop_assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].0), "overlap in {:?}", all);
                // Patches may come that are never made.
                let coming: Vec<_> = new.iter().map(|(n, _)| part(*n)).chain([part(99)]).map(|part| (part, None)).collect();
                let mut placer = Placer::new(previous, &coming, HEADER, front);
                for placed in &finished.parts {
                    prop_assert_eq!(placer.place(&placed.part, placed.blocks), placed.first_block);
                }
            }
        }
    }

    #[test]
    fn a_removed_layer_leaves_a_gap_that_is_used_again() {
        let first = plan_volume(None, &sizes(&[(1, 4), (2, 4), (3, 4)]), HEADER, 1000, None);
        let second = plan_volume(
            Some(&manifest(&first)),
            &sizes(&[(1, 4), (3, 4), (4, 3), (5, 2)]),
            HEADER,
            1000,
            None,
        );
        let at = |plan: &Placement, number| plan.parts.iter().find(|p| p.part == part(number)).unwrap().first_block;
        assert_eq!(at(&second, 4), at(&first, 2), "fits into the gap");
        assert_eq!(at(&second, 5), at(&first, 3) + 4, "does not fit and is appended");
    }

    #[test]
    fn equal_parts_are_placed_once() {
        let plan = plan_volume(None, &sizes(&[(1, 2), (1, 2)]), HEADER, 1000, None);
        assert_eq!(plan.parts.len(), 1);
    }
}
