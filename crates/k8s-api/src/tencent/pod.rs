//! What a pod's annotations ask for in Tencent's dialect ("Annotation", 457/44173; "Image Cache Overview").

use imagecache_core::{CacheId, MatchOrder, MatchRules, Need, Otherwise, PodWish};

use crate::InvalidSpec;
use crate::annotations::{Annotations, field};

/// Names a cache, or says `auto`.
const USE_IMAGE_CACHE: &str = "eks.tke.cloud.tencent.com/use-image-cache";
const AUTO: &str = "auto";

/// The id that the pod names.
pub(crate) fn named<'a>(annotations: &Annotations<'a>) -> Option<&'a str> {
    annotations
        .text(USE_IMAGE_CACHE)
        .filter(|text| !text.eq_ignore_ascii_case(AUTO))
}

/// The named cache, if any. The pod starts without it when it cannot be used.
pub(crate) fn named_wish(annotations: &Annotations<'_>) -> Result<Option<PodWish>, InvalidSpec> {
    let Some(text) = named(annotations) else {
        return Ok(None);
    };
    match CacheId::from_vendor(text) {
        Ok(_) => Ok(Some(PodWish::Named {
            id: text.to_owned(),
            otherwise: Otherwise::Pull,
        })),
        Err(_) => Err(InvalidSpec::new(
            field(USE_IMAGE_CACHE),
            format!("`{text}` is not known, write auto or the id of a cache, imc-…"),
        )),
    }
}

/// Automatic matching, if it is asked for: images must agree in name and version, so a cache holds all of them or is none.
pub(crate) fn automatic_wish(annotations: &Annotations<'_>) -> Option<PodWish> {
    let auto = annotations
        .text(USE_IMAGE_CACHE)
        .is_some_and(|text| text.eq_ignore_ascii_case(AUTO));
    auto.then_some(PodWish::Automatic(MatchRules {
        need: Need::All,
        order: MatchOrder::SmallestSize,
        storage_gib: None,
    }))
}
