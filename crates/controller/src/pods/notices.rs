//! The events on pods, in the words of the vendor whose dialect a pod speaks. Pure.
//!
//! Alibaba's are those of "ECI custom events"; Tencent's are those of its guide to image caches, which shows the wording of a
//! hit alone.

use imagecache_core::EventSeverity::{self, Normal, Warning};
use imagecache_core::matching::{MatchDegree, Unusable};
use imagecache_k8s_api::{ImageCacheDialect as _, alibaba};

use super::judge::{Judgement, Outcome};
use crate::kubernetes::Notice;

/// How every message of Alibaba's about image caches starts.
const ALIBABA_MARK: &str = "[eci.imagecache]";

/// What became of the pod; an automatic miss in Tencent's dialect has no event, its absence is the only sign.
pub(super) fn outcome(judgement: &Judgement) -> Option<Notice> {
    if is_alibaba(judgement) {
        alibaba_outcome(judgement)
    } else {
        tencent_outcome(judgement)
    }
}

/// That the cache lacks some of the pod's images; Alibaba's own event says so itself.
pub(super) fn lacking(judgement: &Judgement) -> Option<Notice> {
    match &judgement.outcome {
        Outcome::Used { id, degree, .. } if !is_alibaba(judgement) && !judgement.is_full(*degree) => {
            let note = format!("Image cache {id}: {}, the others are pulled", held(judgement, *degree));
            Some(notice(Warning, "ImageCacheIncomplete", note))
        }
        _ => None,
    }
}

/// What to tell when a cache was made for the pod: that it was started, not finished.
pub(super) fn created(judgement: &Judgement, name: &str) -> Option<Notice> {
    is_alibaba(judgement).then(|| {
        let note = format!("{ALIBABA_MARK}Image cache auto created: the ImageCache {name} is being built");
        notice(Normal, "ImageCacheAutoCreated", note)
    })
}

/// What to tell when none could be made.
pub(super) fn not_created(judgement: &Judgement, cause: &str) -> Option<Notice> {
    is_alibaba(judgement).then(|| {
        let note = format!("{ALIBABA_MARK}Image cache auto create failed for {cause}");
        notice(Warning, "ImageCacheAutoCreateFailed", note)
    })
}

fn is_alibaba(judgement: &Judgement) -> bool {
    judgement.request.dialect == alibaba::ImageCache::DIALECT
}

fn alibaba_outcome(judgement: &Judgement) -> Option<Notice> {
    let (severity, reason, text) = match &judgement.outcome {
        Outcome::Used { id, degree, .. } => (
            Normal,
            "SuccessfulHitImageCache",
            format!("Successfully hit image cache {id}, {}", held(judgement, *degree)),
        ),
        Outcome::Missed => (
            Warning,
            "ImageCacheMissed",
            "Missed image cache, the images are pulled".to_owned(),
        ),
        Outcome::LeftToCloud => return None,
        Outcome::Unusable {
            id,
            why: why @ Unusable::NotReady(_),
        } => (
            Normal,
            "ImageCacheNotComplete",
            format!("Image cache {id} cannot be used: {why}"),
        ),
        Outcome::Unusable { id, why } => (
            Warning,
            "ImageCacheNotFound",
            format!("Image cache {id} cannot be used: {why}"),
        ),
    };
    Some(notice(severity, reason, format!("{ALIBABA_MARK}{text}")))
}

fn tencent_outcome(judgement: &Judgement) -> Option<Notice> {
    match &judgement.outcome {
        Outcome::Used { id, .. } => Some(notice(Normal, "ImageCacheUsed", format!("Image cache {id} used"))),
        Outcome::Missed | Outcome::LeftToCloud => None,
        Outcome::Unusable { id, why } => {
            // At home an id may stand where its author wrote `auto`: who never named a cache is not to be warned of it.
            let severity = if judgement.at_home { Normal } else { Warning };
            let note = format!("Image cache {id} is not used: {why}; the images are pulled");
            Some(notice(severity, "ImageCacheNotUsed", note))
        }
    }
}

fn held(judgement: &Judgement, degree: MatchDegree) -> String {
    let all = judgement.request.images.len();
    format!("it holds {} of the pod's {all} images", degree.full)
}

fn notice(severity: EventSeverity, reason: &'static str, note: String) -> Notice {
    Notice { severity, reason, note }
}
