//! Counts, for every cache at once, how many of some images it holds.

use super::MatchDegree;
use super::holders::{Holders, Slot, as_index};

/// How many images each cache holds exactly, and how many in any version; by slot.
#[derive(Clone, Debug)]
pub(super) struct Tally(Vec<Count>);

/// Images held exactly in the upper half, images held in any version in the lower: so a greater count is a better degree.
/// Small, since a decision reads one for every cache, several times.
pub(super) type Count = u16;

const IN_ANY_VERSION: Count = 1;
const EXACTLY: Count = 1 << 8;
/// Images that are counted; those of a pod with more are not looked at.
const MOST_IMAGES: usize = 0xff;
/// Caches that are looked at in one step.
const STEP: usize = 64;

/// The caches that have one image of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// Those that have it in any version.
    pub(super) any: Option<&'a Holders>,
    /// Those of them that have it exactly.
    pub(super) exactly: Option<&'a Holders>,
}

impl Tally {
    /// Counts these images for so many slots.
    pub(super) fn of(images: &[Found<'_>], slots: usize) -> Self {
        let mut tally = Self(vec![0; slots]);
        tally.count_in(images, MOST_IMAGES);
        tally
    }

    /// The same with `more` images beside the `first` that were counted.
    pub(super) fn with(&self, first: usize, more: &[Found<'_>]) -> Self {
        let mut tally = self.clone();
        tally.count_in(more, MOST_IMAGES.saturating_sub(first));
        tally
    }

    fn count_in(&mut self, images: &[Found<'_>], most: usize) {
        for image in images.iter().take(most) {
            match (image.any, image.exactly) {
                // Both at once: the counts are read and written once.
                (Some(Holders::Many { members: any, .. }), Some(Holders::Many { members: exactly, .. })) => {
                    // Who holds it exactly holds it in any version, so this list is no longer, only cut earlier.
                    let both = self.0.iter_mut().zip(any).zip(exactly);
                    for ((count, any), exactly) in both {
                        *count += Count::from(*any) * IN_ANY_VERSION + Count::from(*exactly) * EXACTLY;
                    }
                    let rest = self.0.iter_mut().zip(any).skip(exactly.len());
                    for (count, any) in rest {
                        *count += Count::from(*any) * IN_ANY_VERSION;
                    }
                }
                (any, exactly) => {
                    self.add(any, IN_ANY_VERSION);
                    self.add(exactly, EXACTLY);
                }
            }
        }
    }

    fn add(&mut self, holders: Option<&Holders>, amount: Count) {
        match holders {
            Some(Holders::Few(list)) => {
                for slot in list {
                    if let Some(count) = self.0.get_mut(as_index(*slot)) {
                        *count += amount;
                    }
                }
            }
            Some(Holders::Many { members, .. }) => {
                for (count, member) in self.0.iter_mut().zip(members) {
                    *count += Count::from(*member) * amount;
                }
            }
            None => {}
        }
    }

    /// The best count below `bound` that any cache has; 0 when none has any.
    pub(super) fn best_below(&self, bound: Option<Count>) -> Count {
        let below = |count: Count| match bound {
            Some(bound) if count >= bound => 0,
            _ => count,
        };
        self.0.iter().fold(0, |best, count| best.max(below(*count)))
    }

    /// The caches with this count.
    pub(super) fn with_count(&self, wanted: Count) -> impl Iterator<Item = Slot> {
        let steps = (0..).step_by(STEP).zip(self.0.chunks(STEP));
        // Most steps have none; whether one has is asked of all of it at once.
        let found = steps.filter(move |(_, counts)| counts.iter().fold(false, |any, count| any | (*count == wanted)));
        found.flat_map(move |(first, counts)| {
            let slots = (first..).zip(counts);
            slots.filter(move |(_, count)| **count == wanted).map(|(slot, _)| slot)
        })
    }

    /// What the cache in this slot holds.
    pub(super) fn count(&self, slot: Slot) -> Count {
        self.0.get(as_index(slot)).copied().unwrap_or_default()
    }
}

/// The degree that a count means.
pub(super) fn degree(count: Count) -> MatchDegree {
    let [any, full] = [count % EXACTLY, count / EXACTLY].map(usize::from);
    MatchDegree {
        full,
        partial: any.saturating_sub(full),
    }
}
