//! The decision for one pod.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::holders::{Holders, Slot, as_index};
use super::index::MatchIndex;
use super::score::{Brief, Obstacle, Place, Score, by_name, exact_images, obstacle, out_of_use};
use super::tally::{Count, Found, Tally, degree};
use super::{Held, Indexed, MatchDegree};
use crate::{CacheId, CacheKey, ImageRef, MatchRules, Otherwise, PodRequest, PodWish};

/// What a pod gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// This cache.
    Use {
        /// The id that users see.
        id: CacheId,
        /// The key it was made under.
        key: CacheKey,
        /// How much of the pod it holds; everything, when `full` is the number of the pod's images.
        degree: MatchDegree,
    },
    /// None, since none suits.
    Miss,
    /// Not the one that it named.
    Unusable {
        /// The id, as the pod has it.
        id: String,
        /// What is wrong with it.
        why: Unusable,
        /// What becomes of the pod.
        otherwise: Otherwise,
    },
}

/// Why a named cache cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nothing is known of it.
    #[error("there is no such cache")]
    Unknown,
    /// It is in this phase, in the provider's own word.
    #[error("it is not Ready but {0}")]
    NotReady(String),
    /// Its time is over.
    #[error("it has expired")]
    Expired,
}

impl MatchIndex {
    /// Chooses for one pod.
    ///
    /// A named cache is used when it is Ready and has not expired, whatever it holds and how large it is: so do both clouds.
    pub fn decide(&self, request: &PodRequest, now: Timestamp) -> Decision {
        match &request.wish {
            PodWish::Named { id, otherwise } => self.named(request, id, *otherwise, now),
            PodWish::Automatic(rules) => self.best(request, rules, now),
        }
    }

    /// Every cache that holds all images exactly which the need of `request` counts, in whatever phase. A request that counts none
    /// has no such cache.
    pub fn holding_all<'a>(&'a self, request: &'a PodRequest) -> impl Iterator<Item = &'a Indexed> {
        let holders = request
            .counted()
            .next()
            .and_then(|image| self.holders(self.version(image)?));
        let caches = holders
            .into_iter()
            .flat_map(Holders::slots)
            .filter_map(|slot| self.slot(slot));
        caches.filter(|cache| request.counted().all(|image| self.held(cache, image) == Held::Exactly))
    }

    fn named(&self, request: &PodRequest, id: &str, otherwise: Otherwise, now: Timestamp) -> Decision {
        let unusable = |why| Decision::Unusable {
            id: id.to_owned(),
            why,
            otherwise,
        };
        let Some(cache) = self.get(id) else {
            return unusable(Unusable::Unknown);
        };
        match out_of_use(&Brief::of(cache), now) {
            None => Decision::Use {
                id: cache.id.clone(),
                key: cache.key.clone(),
                degree: self.score(cache, request).degree,
            },
            Some(Obstacle::Expired) => unusable(Unusable::Expired),
            Some(_) => unusable(Unusable::NotReady(cache.phase.to_string())),
        }
    }

    fn best(&self, request: &PodRequest, rules: &MatchRules, now: Timestamp) -> Decision {
        let found = |image: &ImageRef| Found {
            any: self.holders(self.repository(image)),
            exactly: self.version(image).and_then(|version| self.holders(version)),
        };
        let images: Vec<Found<'_>> = request.counted().map(found).collect();
        let cached = images.iter().filter(|image| image.exactly.is_some()).count();
        let needed = exact_images(rules.need, images.len());
        if cached < needed {
            return Decision::Miss;
        }
        let slots = self.briefs().len();
        let counted = Tally::of(&images, slots);
        let others: Vec<Found<'_>> = request.uncounted.iter().map(found).collect();
        let all = (!others.is_empty()).then(|| counted.with(images.len(), &others));
        let all = all.as_ref().unwrap_or(&counted);
        let mut best: Option<(Count, Place, Slot)> = None;
        let consider = |best: &mut Option<(Count, Place, Slot)>, slot: Slot| {
            let (of_counted, count) = (counted.count(slot), all.count(slot));
            if of_counted == 0 || best.is_some_and(|(best, ..)| count < best) {
                return;
            }
            // Sizes stand close together: most caches are out before anything else of them is read.
            let size = self.sizes().get(as_index(slot)).copied().unwrap_or_default();
            if best.is_some_and(|(best, place, _)| count == best && place.is_closer(size, rules)) {
                return;
            }
            let Some(brief) = self.briefs().get(as_index(slot)) else {
                return;
            };
            let score = Score {
                degree: degree(count),
                counted: degree(of_counted),
            };
            let place = Place::of(brief, score.degree, rules);
            let better = best.is_none_or(|(_, best, best_slot)| match place.cmp(&best) {
                Ordering::Equal => self.comes_first(slot, best_slot),
                order => order == Ordering::Less,
            });
            if better && obstacle(brief, &score, rules, images.len(), now).is_none() {
                *best = Some((count, place, slot));
            }
        };
        let lists = || images.iter().filter_map(|image| image.any);
        if lists().any(|list| matches!(list, Holders::Many { .. })) {
            // Those that hold most come first, and mostly one of them is usable.
            let mut count = all.best_below(None);
            while count > 0 && degree(count).full >= needed {
                all.with_count(count).for_each(|slot| consider(&mut best, slot));
                if best.is_some() {
                    break;
                }
                count = all.best_below(Some(count));
            }
        } else {
            lists()
                .flat_map(Holders::slots)
                .for_each(|slot| consider(&mut best, slot));
        }
        match best.and_then(|(count, _, slot)| Some((self.slot(slot)?, count))) {
            Some((cache, count)) => Decision::Use {
                id: cache.id.clone(),
                key: cache.key.clone(),
                degree: degree(count),
            },
            None => Decision::Miss,
        }
    }

    fn comes_first(&self, slot: Slot, other: Slot) -> bool {
        let caches = self.slot(slot).zip(self.slot(other));
        caches.is_some_and(|(cache, other)| by_name(cache, other) == Ordering::Less)
    }
}
