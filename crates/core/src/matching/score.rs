//! How well one cache suits one pod: degree, what is missing, and its place among others.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;
use serde::Serialize;

use super::Indexed;
use crate::{MatchOrder, MatchRules, Need, Phase};

/// How far a cache agrees with the images asked for; more is better.
///
/// Alibaba calls this the match degree: repository and version agree for `full` images, only the repository for `partial`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MatchDegree {
    /// Images that the cache holds exactly, by tag or by digest.
    pub full: usize,
    /// Images of which it holds another version.
    pub partial: usize,
}

/// What a cache holds of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// This very version.
    Exactly,
    /// Another version.
    OtherVersion,
    /// Nothing.
    No,
}

/// What a cache holds of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    /// Of all images.
    pub(super) degree: MatchDegree,
    /// Of the images that need counts.
    pub(super) counted: MatchDegree,
}

impl Score {
    /// Adds up what a cache holds of each image; the flag says whether need counts the image.
    pub(super) fn of(held: impl IntoIterator<Item = (Held, bool)>) -> Self {
        let mut score = Self::default();
        for (held, counted) in held {
            score.degree.count(held);
            if counted {
                score.counted.count(held);
            }
        }
        score
    }
}

impl MatchDegree {
    fn count(&mut self, held: Held) {
        match held {
            Held::Exactly => self.full += 1,
            Held::OtherVersion => self.partial += 1,
            Held::No => {}
        }
    }
}

/// What decides whether a cache can be used and where it stands, whatever it holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brief {
    ready: bool,
    size_gib: u32,
    created_at: Timestamp,
    /// The end of time is never.
    expires_at: Timestamp,
}

impl Brief {
    pub(super) fn of(cache: &Indexed) -> Self {
        Self {
            ready: cache.phase == Phase::Ready,
            size_gib: cache.size_gib,
            created_at: cache.created_at,
            expires_at: cache.expires_at.unwrap_or(Timestamp::MAX),
        }
    }
}

/// Why a cache cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    NotReady,
    Expired,
    TooLarge { storage_gib: u32 },
    HoldsTooLittle,
}

/// What stands against `cache`, if anything; `counted` is how many images need counts.
pub(super) fn obstacle(
    cache: &Brief,
    score: &Score,
    rules: &MatchRules,
    counted: usize,
    now: Timestamp,
) -> Option<Obstacle> {
    if let Some(obstacle) = out_of_use(cache, now) {
        return Some(obstacle);
    }
    if let Some(storage_gib) = rules.storage_gib.filter(|storage| cache.size_gib > *storage) {
        return Some(Obstacle::TooLarge { storage_gib });
    }
    let something = score.counted.full + score.counted.partial > 0;
    let enough = score.counted.full >= exact_images(rules.need, counted);
    (!(enough && something)).then_some(Obstacle::HoldsTooLittle)
}

/// How many images a cache must hold exactly, when so many count.
pub(super) fn exact_images(need: Need, counted: usize) -> usize {
    match need {
        Need::Any => 0,
        Need::Exactly(count) => usize::try_from(count).unwrap_or(usize::MAX),
        Need::All => counted,
    }
}

/// What keeps every pod from using `cache`, whatever it holds.
pub(super) fn out_of_use(cache: &Brief, now: Timestamp) -> Option<Obstacle> {
    if !cache.ready {
        Some(Obstacle::NotReady)
    } else if cache.expires_at <= now {
        Some(Obstacle::Expired)
    } else {
        None
    }
}

/// A cache's place; less is better. Caches in one place are told apart by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    degree: Reverse<MatchDegree>,
    distance_gib: u32,
    created_at: Reverse<Timestamp>,
}

impl Place {
    pub(super) fn of(cache: &Brief, degree: MatchDegree, rules: &MatchRules) -> Self {
        Self {
            degree: Reverse(degree),
            distance_gib: distance(cache.size_gib, rules),
            created_at: Reverse(cache.created_at),
        }
    }
}

impl Place {
    /// Whether this is better than any cache of that size with the same degree.
    pub(super) fn is_closer(&self, size_gib: u32, rules: &MatchRules) -> bool {
        self.distance_gib < distance(size_gib, rules)
    }
}

/// The order of caches in one place; the key makes it total.
pub(super) fn by_name(cache: &Indexed, other: &Indexed) -> Ordering {
    (&cache.id, &cache.key).cmp(&(&other.id, &other.key))
}

/// How far a size is from the one that would be best, in GiB. With no storage to be close to, small is best.
fn distance(size_gib: u32, rules: &MatchRules) -> u32 {
    match (rules.order, rules.storage_gib) {
        (MatchOrder::ClosestSize, Some(storage)) => storage.abs_diff(size_gib),
        (MatchOrder::ClosestSize, None) | (MatchOrder::SmallestSize, _) => size_gib,
    }
}

/// What put one place behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    Degree,
    Size,
    Age,
    Name,
}

/// Why `place` comes after `best`.
pub(super) fn behind(place: &Place, best: &Place) -> Behind {
    let steps = [
        (place.degree.cmp(&best.degree), Behind::Degree),
        (place.distance_gib.cmp(&best.distance_gib), Behind::Size),
        (place.created_at.cmp(&best.created_at), Behind::Age),
    ];
    let decisive = steps.into_iter().find(|(order, _)| *order != Ordering::Equal);
    decisive.map_or(Behind::Name, |(_, behind)| behind)
}
