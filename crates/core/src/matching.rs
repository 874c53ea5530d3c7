//! Which cache suits some images best. Pure.

use std::cmp::Reverse;

use crate::{CacheState, ImageRef, Phase};

/// How far a cache agrees with the images asked for; more is better.
///
/// Alibaba calls this the match degree: repository and version agree for `full` images, only the repository for `partial`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchDegree {
    /// Images that the cache holds exactly, by tag or by digest.
    pub full: usize,
    /// Images of which it holds another version.
    pub partial: usize,
}

/// A candidate with the reason for its place.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCache<'a> {
    /// The cache.
    pub state: &'a CacheState,
    /// How far it agrees.
    pub degree: MatchDegree,
}

/// Ready caches that hold at least one of `images` in some version, best first: match degree, then smaller size, then
/// newer, then id so that the order is total (Alibaba, "Overview of image caches"; Tencent agrees on size and age).
pub fn rank<'a>(images: &[ImageRef], caches: &'a [CacheState]) -> Vec<RankedCache<'a>> {
    let mut ranked: Vec<RankedCache<'a>> = caches
        .iter()
        .filter(|cache| cache.phase == Phase::Ready)
        .map(|state| RankedCache {
            state,
            degree: degree(images, state),
        })
        .filter(|candidate| candidate.degree.full + candidate.degree.partial > 0)
        .collect();
    ranked.sort_by_key(|candidate| {
        let cache = candidate.state;
        (
            Reverse(candidate.degree),
            cache.size_gib,
            Reverse(cache.created_at),
            cache.id.clone(),
        )
    });
    ranked
}

fn degree(images: &[ImageRef], cache: &CacheState) -> MatchDegree {
    let full = images.iter().filter(|image| holds(cache, image)).count();
    let same_repository = images
        .iter()
        .filter(|image| cache.images.iter().any(|cached| cached.name() == image.name()))
        .count();
    MatchDegree {
        full,
        partial: same_repository.saturating_sub(full),
    }
}

/// A digest decides when the image has one, since it names the content; else name and tag must agree.
fn holds(cache: &CacheState, image: &ImageRef) -> bool {
    match image.digest() {
        Some(digest) => {
            let resolved = cache.resolved.iter().any(|cached| cached.answers(image));
            resolved
                || cache
                    .images
                    .iter()
                    .any(|cached| cached.name() == image.name() && cached.digest() == Some(digest))
        }
        None => cache
            .images
            .iter()
            .any(|cached| cached.name() == image.name() && cached.tag().is_some() && cached.tag() == image.tag()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{CacheId, CacheKey, CachedImage, Digest, Failure, Progress};

    fn cache(name: &str, images: &[&str], size_gib: u32, created: i64) -> CacheState {
        let key: CacheKey = name.parse().unwrap();
        let images: Vec<ImageRef> = images.iter().map(|image| image.parse().unwrap()).collect();
        CacheState {
            id: CacheId::for_key(&key),
            key,
            display_name: None,
            phase: Phase::Ready,
            progress: Progress::DONE,
            resolved: images
                .iter()
                .map(|reference| CachedImage {
                    reference: reference.clone(),
                    manifest: Digest::sha256_of(reference.to_string().as_bytes()),
                    index: Some(Digest::sha256_of(b"index")),
                })
                .collect(),
            images,
            size_gib,
            content_bytes: None,
            snapshot_id: None,
            created_at: Timestamp::from_second(created).unwrap(),
            updated_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            events: vec![],
            layers: vec![],
        }
    }

    fn order(images: &[&str], caches: &[CacheState]) -> Vec<String> {
        let images: Vec<ImageRef> = images.iter().map(|image| image.parse().unwrap()).collect();
        rank(&images, caches)
            .iter()
            .map(|ranked| ranked.state.key.to_string())
            .collect()
    }

    #[test]
    fn degree_then_size_then_age() {
        let caches = [
            cache("partial", &["nginx:2"], 20, 9),
            cache("big", &["nginx:1"], 40, 9),
            cache("old", &["nginx:1"], 20, 1),
            cache("new", &["nginx:1"], 20, 2),
            cache("both", &["nginx:1", "redis"], 90, 1),
            cache("other", &["busybox"], 20, 1),
        ];
        assert_eq!(
            order(&["nginx:1", "redis"], &caches),
            ["both", "new", "old", "big", "partial"]
        );
        assert_eq!(order(&["postgres"], &caches), [""; 0]);
    }

    #[test]
    fn only_ready_caches_match() {
        let mut failed = cache("failed", &["nginx"], 20, 1);
        failed.phase = Phase::Failed(Failure {
            kind: crate::ErrorKind::Internal,
            message: String::new(),
        });
        let mut building = cache("building", &["nginx"], 20, 1);
        building.phase = Phase::Creating;
        assert_eq!(order(&["nginx"], &[failed, building]), [""; 0]);
    }

    #[test]
    fn digests_decide() {
        let caches = [cache("c", &["nginx:1"], 20, 1)];
        let manifest = Digest::sha256_of(b"docker.io/library/nginx:1");
        let index = Digest::sha256_of(b"index");
        let other = Digest::sha256_of(b"other");
        for (name, image, full) in [
            ("manifest digest", format!("nginx@{manifest}"), 1),
            ("index digest", format!("nginx@{index}"), 1),
            ("tag and digest", format!("nginx:9@{manifest}"), 1),
            ("another digest under the same tag", format!("nginx:1@{other}"), 0),
            ("same digest in another repository", format!("redis@{manifest}"), 0),
        ] {
            let images = [image.parse().unwrap()];
            let found = rank(&images, &caches).first().map_or(0, |ranked| ranked.degree.full);
            assert_eq!(found, full, "{name}");
        }
    }
}
