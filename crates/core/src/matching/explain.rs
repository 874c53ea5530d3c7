//! The decision for one pod in words.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::holders::{Holders, Slot};
use super::index::{Indexed, MatchIndex};
use super::score::{Behind, Brief, Obstacle, Place, Score, behind, by_name, obstacle, out_of_use};
use super::{Held, MatchDegree};
use crate::{MatchOrder, MatchRules, Need, PodRequest, PodWish};

/// A cache that was looked at for a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// The cache.
    pub cache: &'a Indexed,
    /// How much of the pod it holds.
    pub degree: MatchDegree,
    /// What it holds of each image, in the order of the request's.
    pub held: Vec<Held>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, as one sentence.
    pub why: String,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod gets it.
    Chosen,
    /// It could be used, and another one is better.
    Outranked,
    /// It cannot be used.
    Rejected,
}

impl Verdict {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Outranked => "outranked",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl MatchIndex {
    /// Every cache that has an image of the pod in any version, best first, those that cannot be used last; of a named cache
    /// only that one, when it is known.
    ///
    /// The chosen one is that of [`decide`](Self::decide).
    pub fn explain(&self, request: &PodRequest, now: Timestamp) -> Vec<Candidate<'_>> {
        match &request.wish {
            PodWish::Named { id, .. } => {
                let named = self.get(id).map(|cache| self.named_candidate(cache, request, now));
                named.into_iter().collect()
            }
            PodWish::Automatic(rules) => self.candidates(request, rules, now),
        }
    }

    /// What `cache` holds of the pod.
    pub(super) fn score(&self, cache: &Indexed, request: &PodRequest) -> Score {
        let held = |image| (self.held(cache, image), !request.uncounted.contains(image));
        Score::of(request.images.iter().map(held))
    }

    fn held_of(&self, cache: &Indexed, request: &PodRequest) -> Vec<Held> {
        request.images.iter().map(|image| self.held(cache, image)).collect()
    }

    fn named_candidate<'a>(&'a self, cache: &'a Indexed, request: &PodRequest, now: Timestamp) -> Candidate<'a> {
        let obstacle = out_of_use(&Brief::of(cache), now);
        let why = obstacle.map_or_else(|| "the pod names it".to_owned(), |obstacle| unusable(cache, obstacle));
        Candidate {
            cache,
            degree: self.score(cache, request).degree,
            held: self.held_of(cache, request),
            verdict: obstacle.map_or(Verdict::Chosen, |_| Verdict::Rejected),
            why,
        }
    }

    fn candidates(&self, request: &PodRequest, rules: &MatchRules, now: Timestamp) -> Vec<Candidate<'_>> {
        let counted = request.counted().count();
        let lists = request
            .images
            .iter()
            .filter_map(|image| self.holders(self.repository(image)));
        let slots: BTreeSet<Slot> = lists.flat_map(Holders::slots).collect();
        let mut seen: Vec<Seen<'_>> = slots
            .into_iter()
            .filter_map(|slot| {
                let cache = self.slot(slot)?;
                let (brief, score) = (Brief::of(cache), self.score(cache, request));
                Some(Seen {
                    obstacle: obstacle(&brief, &score, rules, counted, now),
                    place: Place::of(&brief, score.degree, rules),
                    cache,
                    score,
                })
            })
            .collect();
        seen.sort_by(|one, other| {
            let places = (one.obstacle.is_some(), one.place).cmp(&(other.obstacle.is_some(), other.place));
            places.then_with(|| by_name(one.cache, other.cache))
        });
        let best = seen.first().filter(|best| best.obstacle.is_none());
        seen.iter()
            .map(|one| {
                let (verdict, why) = match (one.obstacle, best) {
                    (Some(Obstacle::HoldsTooLittle), _) => {
                        (Verdict::Rejected, too_little(&one.score, rules.need, counted))
                    }
                    (Some(obstacle), _) => (Verdict::Rejected, unusable(one.cache, obstacle)),
                    (None, Some(best)) if best.cache.key != one.cache.key => {
                        (Verdict::Outranked, outranked(one, best, rules))
                    }
                    (None, _) => (Verdict::Chosen, "the best of those that can be used".to_owned()),
                };
                Candidate {
                    cache: one.cache,
                    degree: one.score.degree,
                    held: self.held_of(one.cache, request),
                    verdict,
                    why,
                }
            })
            .collect()
    }
}

/// A cache with what decides about it.
struct Seen<'a> {
    cache: &'a Indexed,
    score: Score,
    obstacle: Option<Obstacle>,
    place: Place,
}

fn unusable(cache: &Indexed, obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::NotReady => format!("it is not Ready but {}", cache.phase),
        Obstacle::Expired => "it has expired".to_owned(),
        Obstacle::TooLarge { storage_gib } => format!(
            "its {} GiB are more than the pod's {storage_gib} GiB of temporary storage",
            cache.size_gib
        ),
        Obstacle::HoldsTooLittle => "it holds too little of the pod".to_owned(),
    }
}

fn too_little(score: &Score, need: Need, counted: usize) -> String {
    let full = score.counted.full;
    match need {
        Need::All => format!("it holds {full} of {counted} images exactly, and all are asked for"),
        Need::Exactly(count) => format!("it holds {full} of {counted} images exactly, and {count} are asked for"),
        Need::Any => "it holds only images that do not count".to_owned(),
    }
}

fn outranked(one: &Seen<'_>, best: &Seen<'_>, rules: &MatchRules) -> String {
    let (id, size, best_size) = (&best.cache.id, one.cache.size_gib, best.cache.size_gib);
    match (behind(&one.place, &best.place), rules.order, rules.storage_gib) {
        (Behind::Degree, ..) => format!("{id} agrees with more of the pod's images"),
        (Behind::Size, MatchOrder::ClosestSize, Some(storage)) => format!(
            "{id} agrees as well, and its {best_size} GiB are closer to the pod's {storage} GiB of temporary storage than \
             {size} GiB"
        ),
        (Behind::Size, ..) => {
            format!("{id} agrees as well and is smaller: {best_size} GiB instead of {size} GiB")
        }
        (Behind::Age, ..) => format!("{id} agrees as well, is as large, and is newer"),
        (Behind::Name, ..) => format!("{id} is equal in everything, and its id comes first"),
    }
}
