//! What one pod got of what it asked for. Pure.

use imagecache_core::matching::{Decision, MatchDegree, Unusable};
use imagecache_core::{CacheId, CacheKey, MatchRules, Need, PodPatch, PodRequest, PodWish};
use imagecache_k8s_api::pod::{self, PodView};

/// What a pod asked for and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    /// What it asked for, before admission named a cache in it.
    pub(super) request: PodRequest,
    /// What it got.
    pub(super) outcome: Outcome,
    /// Whether it speaks the dialect of the provider's own cloud, which then judges it, too.
    pub(super) at_home: bool,
}

/// What a pod got.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It starts from this cache.
    Used {
        id: CacheId,
        key: CacheKey,
        degree: MatchDegree,
    },
    /// None suited, or admission did not see the pod.
    Missed,
    /// None of ours suited, but the pod's cloud looks at those that are not ours, too, and tells what it found.
    LeftToCloud,
    /// Not the one that it named.
    Unusable { id: String, why: Unusable },
}

impl Judgement {
    /// The stable name of the outcome.
    pub(super) fn label(&self) -> &'static str {
        match &self.outcome {
            Outcome::Used { degree, .. } if self.is_full(*degree) => "hit",
            Outcome::Used { .. } => "partial_hit",
            Outcome::Missed => "miss",
            Outcome::LeftToCloud => "left_to_cloud",
            Outcome::Unusable {
                why: Unusable::Unknown, ..
            } => "not_found",
            Outcome::Unusable {
                why: Unusable::NotReady(_),
                ..
            } => "not_ready",
            Outcome::Unusable {
                why: Unusable::Expired, ..
            } => "expired",
        }
    }

    /// Whether a cache with this degree spares the pod every pull that its author is responsible for.
    pub(super) fn is_full(&self, degree: MatchDegree) -> bool {
        degree.full + self.request.uncounted.len() >= self.request.images.len()
    }

    /// The same request for a cache with all images of the pod; `None` for a pod that named its cache.
    pub(super) fn for_everything(&self) -> Option<PodRequest> {
        match &self.request.wish {
            PodWish::Automatic(rules) => Some(PodRequest {
                wish: PodWish::Automatic(MatchRules {
                    need: Need::All,
                    ..*rules
                }),
                ..self.request.clone()
            }),
            PodWish::Named { .. } => None,
        }
    }
}

/// Judges a pod that was created; `None` when it asks for nothing, or for something that nobody understands, or names a cache
/// of its own cloud that is not ours: there may be one.
///
/// `native` is the dialect of the provider's cloud, `bind` its form of naming a cache, `decide` what the catalog says.
pub(super) fn judge(
    pod: &PodView,
    native: Option<&str>,
    bind: impl Fn(&CacheId) -> PodPatch,
    decide: impl Fn(&PodRequest) -> Decision,
) -> Option<Judgement> {
    let written = pod::request(pod, native).ok()??;
    let bound = bound(pod, &bind);
    // What is left without the provider's own form is what the author wrote; where nothing is, that form was the author's.
    let asked = bound.as_ref().and_then(|patch| {
        let mut original = pod.clone();
        original
            .metadata
            .annotations
            .retain(|name, _| !patch.annotations.contains_key(name));
        pod::request(&original, native).ok()?
    });
    let request = asked.unwrap_or_else(|| written.clone());
    let at_home = native == Some(request.dialect);
    // At home every form is the provider's own, also the old one.
    let outcome = match (&written.wish, bound.is_some() || at_home) {
        (PodWish::Named { .. }, true) => used(decide(&written), &request),
        (PodWish::Named { .. }, false) => match used(decide(&written), &request) {
            // It is there, and nobody told the pod in the provider's form.
            Outcome::Used { .. } => Outcome::Missed,
            other => other,
        },
        (PodWish::Automatic(_), _) => Outcome::Missed,
    };
    let outcome = match outcome {
        Outcome::Missed if at_home && matches!(request.wish, PodWish::Automatic(_)) => Outcome::LeftToCloud,
        Outcome::Unusable {
            why: Unusable::Unknown, ..
        } if at_home => return None,
        other => other,
    };
    Some(Judgement {
        request,
        outcome,
        at_home,
    })
}

/// The patch that admission must have applied, when the pod names a cache in the provider's own form.
fn bound(pod: &PodView, bind: impl Fn(&CacheId) -> PodPatch) -> Option<PodPatch> {
    let annotations = &pod.metadata.annotations;
    let is_there = |patch: &PodPatch| {
        let mut wanted = patch.annotations.iter();
        wanted.all(|(name, value)| annotations.get(name).is_some_and(|found| found.trim() == value))
    };
    let ids = annotations
        .values()
        .filter_map(|text| CacheId::from_vendor(text.trim()).ok());
    ids.map(|id| bind(&id)).find(is_there)
}

fn used(decision: Decision, asked: &PodRequest) -> Outcome {
    match decision {
        Decision::Use { id, key, degree } => Outcome::Used { id, key, degree },
        Decision::Miss => Outcome::Missed,
        // Admission chose it, and it went away since: the pod never named it.
        Decision::Unusable { .. } if matches!(asked.wish, PodWish::Automatic(_)) => Outcome::Missed,
        Decision::Unusable { id, why, .. } => Outcome::Unusable { id, why },
    }
}
