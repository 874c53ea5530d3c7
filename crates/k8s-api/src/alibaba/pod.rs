//! What a pod's annotations ask for in Alibaba's dialect ("ECI pod annotations", 2025-04; "Overview of image caches", 2024-11).

use std::ops::RangeInclusive;

use imagecache_core::{MatchOrder, MatchRules, Need, Otherwise, PodWish};

use crate::annotations::{Annotations, field};
use crate::{InvalidSpec, parse};

const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const AUTO_OLD: &str = "k8s.aliyun.com/eci-image-cache";
const ID: &str = "k8s.aliyun.com/eci-imc-id";
const ID_OLD: &str = "k8s.aliyun.com/eci-image-snapshot-id";
const PERFECT_MATCH: &str = "k8s.aliyun.com/imc-perfect-match";
const MATCH_COUNT: &str = "k8s.aliyun.com/imc-match-count-request";
const EXTRA_STORAGE: &str = "k8s.aliyun.com/eci-extra-ephemeral-storage";

/// Temporary storage that every instance has, in GiB, and the size of an automatic cache.
pub(crate) const BASE_STORAGE_GIB: u32 = 30;
/// Numbers of images to match that make sense; the vendor's instances have at most 20 containers, init containers apart.
const COUNT_RANGE: RangeInclusive<u32> = 1..=1000;

/// The id that the pod names; the new name beats the old one.
pub(crate) fn named<'a>(annotations: &Annotations<'a>) -> Option<&'a str> {
    annotations.text(ID).or_else(|| annotations.text(ID_OLD))
}

/// The named cache, if any. The vendor refuses the pod when it cannot be used.
pub(crate) fn named_wish(annotations: &Annotations<'_>) -> Result<Option<PodWish>, InvalidSpec> {
    let name = if annotations.text(ID).is_some() { ID } else { ID_OLD };
    let Some(id) = annotations.text(name) else {
        return Ok(None);
    };
    Ok(Some(PodWish::Named {
        id: parse::cache_id(&field(name), id)?,
        otherwise: Otherwise::Refuse,
    }))
}

/// Automatic matching, if it is asked for.
///
/// The new annotation's documented default is true, the old one's false: who sets one of the matching annotations that came
/// with the new one asks for matching, unless it is switched off. A pod with none of them asks for nothing.
pub(crate) fn automatic_wish(annotations: &Annotations<'_>) -> Result<Option<PodWish>, InvalidSpec> {
    let switch = match annotations.flag(AUTO)? {
        Some(switch) => Some(switch),
        None => annotations.flag(AUTO_OLD)?,
    };
    let refined = [PERFECT_MATCH, MATCH_COUNT]
        .into_iter()
        .any(|name| annotations.text(name).is_some());
    if !switch.unwrap_or(refined) {
        return Ok(None);
    }
    // Perfect match beats the count, so a count beside it is not even read.
    let need = if annotations.flag(PERFECT_MATCH)?.unwrap_or(false) {
        Need::All
    } else {
        annotations
            .number(MATCH_COUNT, &COUNT_RANGE)?
            .map_or(Need::Any, Need::Exactly)
    };
    let extra = annotations
        .text(EXTRA_STORAGE)
        .map_or(Ok(0), |text| parse::gib(&field(EXTRA_STORAGE), text))?;
    Ok(Some(PodWish::Automatic(MatchRules {
        need,
        order: MatchOrder::ClosestSize,
        storage_gib: Some(BASE_STORAGE_GIB.saturating_add(extra)),
    })))
}
