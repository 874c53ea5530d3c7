//! Short ways to write caches and pods.

use jiff::Timestamp;

use crate::matching::{Decision, MatchIndex, RegistryAliases};
use crate::{
    CacheId, CacheKey, CacheSpec, CacheState, CachedImage, Digest, ImageRef, MatchRules, Otherwise, Phase, PodRequest,
    PodWish, Progress,
};

/// The time at which pods are created here, in seconds.
pub const NOW: i64 = 1_000_000;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub fn image(text: &str) -> ImageRef {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// The digest of the manifest that caches here have under this reference.
pub fn manifest(reference: &str) -> Digest {
    Digest::sha256_of(image(reference).to_string().as_bytes())
}

/// The digest of the index that names it.
pub fn index(reference: &str) -> Digest {
    Digest::sha256_of(format!("index of {}", image(reference)).as_bytes())
}

/// A Ready cache of 20 GiB that holds these images and never expires.
pub fn cache(key: &str, images: &[&str]) -> CacheState {
    let key: CacheKey = key.parse().unwrap();
    let spec = CacheSpec::new(images.iter().map(|text| image(text)).collect());
    let resolved = |text: &&str| CachedImage {
        reference: image(text),
        manifest: manifest(text),
        index: Some(index(text)),
    };
    CacheState {
        phase: Phase::Ready,
        progress: Progress::DONE,
        resolved: images.iter().map(resolved).collect(),
        ..CacheState::requested(&key, &spec, at(1_000))
    }
}

pub fn sized(size_gib: u32, cache: CacheState) -> CacheState {
    CacheState { size_gib, ..cache }
}

pub fn created(second: i64, cache: CacheState) -> CacheState {
    CacheState {
        created_at: at(second),
        ..cache
    }
}

/// A pod whose cache is chosen by `rules`.
pub fn pod(rules: MatchRules, images: &[&str]) -> PodRequest {
    PodRequest {
        dialect: "test",
        images: images.iter().map(|text| image(text)).collect(),
        uncounted: Vec::new(),
        wish: PodWish::Automatic(rules),
    }
}

/// A pod that names its cache.
pub fn naming(id: &CacheId, otherwise: Otherwise) -> PodRequest {
    PodRequest {
        wish: PodWish::Named {
            id: id.to_string(),
            otherwise,
        },
        ..pod(MatchRules::ALIBABA, &["nginx:1"])
    }
}

pub fn indexed<'a>(caches: impl IntoIterator<Item = &'a CacheState>) -> MatchIndex {
    indexed_with(RegistryAliases::default(), caches)
}

pub fn indexed_with<'a>(aliases: RegistryAliases, caches: impl IntoIterator<Item = &'a CacheState>) -> MatchIndex {
    let mut index = MatchIndex::new(aliases);
    for cache in caches {
        index.put(cache);
    }
    index
}

/// The key of the chosen cache; `-` for none.
pub fn chosen(index: &MatchIndex, request: &PodRequest) -> String {
    match index.decide(request, at(NOW)) {
        Decision::Use { key, .. } => key.to_string(),
        Decision::Miss => "-".to_owned(),
        Decision::Unusable { why, .. } => format!("unusable: {why}"),
    }
}
