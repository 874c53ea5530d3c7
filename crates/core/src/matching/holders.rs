//! Which caches hold one thing: a list while they are few, one byte for each cache when they are many.

/// Where a cache stands in the index.
pub(super) type Slot = u32;

/// A set of slots.
///
/// Adding a list to a tally costs by its length, and adding bytes costs by the number of caches, but a tenth as much for
/// each: processors add many at once.
#[derive(Debug)]
pub(super) enum Holders {
    /// The slots, in no order, each once.
    Few(Vec<Slot>),
    /// By slot, as far as the last that was put in: 1 for a member.
    Many { members: Vec<u8>, count: usize },
}

/// A list longer than one in so many caches becomes bytes.
const MANY: usize = 16;
/// Bytes with less than one in so many caches become a list: far from [`MANY`], so that nothing goes back and forth.
const FEW: usize = 64;
/// Lists up to this length are quick however few caches there are.
const ALWAYS_FEW: usize = 64;

impl Default for Holders {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Holders {
    /// Puts in a slot that is not there, in an index of so many slots.
    pub(super) fn insert(&mut self, slot: Slot, slots: usize) {
        match self {
            Self::Few(list) => {
                list.push(slot);
                if list.len() > ALWAYS_FEW && list.len() > slots / MANY {
                    let mut many = Self::Many {
                        members: Vec::new(),
                        count: 0,
                    };
                    for slot in list {
                        many.insert(*slot, slots);
                    }
                    *self = many;
                }
            }
            Self::Many { members, count } => {
                let at = as_index(slot);
                if members.len() <= at {
                    members.resize(at + 1, 0);
                }
                if let Some(member) = members.get_mut(at) {
                    *member = 1;
                    *count += 1;
                }
            }
        }
    }

    /// Takes a slot out; one that is not there is no matter.
    pub(super) fn remove(&mut self, slot: Slot, slots: usize) {
        match self {
            Self::Few(list) => {
                if let Some(at) = list.iter().position(|holder| *holder == slot) {
                    list.swap_remove(at);
                }
            }
            Self::Many { members, count } => {
                if let Some(member @ 1) = members.get_mut(as_index(slot)) {
                    *member = 0;
                    *count -= 1;
                }
                if *count <= ALWAYS_FEW || *count < slots / FEW {
                    *self = Self::Few(self.slots().collect());
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many { count, .. } => *count == 0,
        }
    }

    /// All members.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let (list, members) = match self {
            Self::Few(list) => (list.as_slice(), &[][..]),
            Self::Many { members, .. } => (&[][..], members.as_slice()),
        };
        let members = (0..).zip(members).filter(|(_, member)| **member == 1);
        list.iter().copied().chain(members.map(|(slot, _)| slot))
    }
}

/// A slot is less than the number of caches, which fits wherever they do.
pub(super) fn as_index(slot: Slot) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// As many slots as let both forms occur, and the change between them.
    const SLOTS: usize = 2_048;

    proptest! {
        #[test]
        fn holders_are_a_set(changes in prop::collection::vec((0..300_usize, any::<bool>()), 0..500)) {
            let mut holders = Holders::default();
            let mut expected = BTreeSet::new();
            for (slot, insert) in changes {
                let slot = Slot::try_from(slot).unwrap();
                if !insert {
                    holders.remove(slot, SLOTS);
                    expected.remove(&slot);
                } else if expected.insert(slot) {
                    holders.insert(slot, SLOTS);
                }
            }
            prop_assert_eq!(holders.is_empty(), expected.is_empty());
            prop_assert_eq!(holders.slots().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn the_form_follows_the_number() {
        let mut holders = Holders::default();
        let many = SLOTS / MANY + 1;
        for slot in (0..).take(many) {
            assert!(matches!(holders, Holders::Few(_)), "{slot}");
            holders.insert(slot, SLOTS);
        }
        for slot in (0..).take(many - ALWAYS_FEW) {
            assert!(matches!(holders, Holders::Many { .. }), "{slot}");
            holders.remove(slot, SLOTS);
        }
        assert!(matches!(holders, Holders::Few(_)));
        assert_eq!(holders.slots().count(), ALWAYS_FEW);
    }
}
