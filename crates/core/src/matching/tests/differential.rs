//! The index against a scan of all caches that is written down as the rules are.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::support::{NOW, at, cache, image, indexed_with, manifest};
use crate::matching::{Decision, MatchDegree, MatchIndex, RegistryAliases, Verdict};
use crate::{
    CacheKey, CacheState, ErrorKind, Failure, ImageRef, MatchOrder, MatchRules, Need, Otherwise, Phase, PodRequest,
    PodWish,
};

/// Few enough that caches and pods meet, with each kind of reference.
fn images() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "team/c", "inner.example.com/d", "outer.example.com/d"]);
    (name, 0..3, 0..5).prop_map(|(name, version, form)| {
        let digest = manifest(&format!("{name}:{version}"));
        match form {
            0 => format!("{name}@{digest}"),
            1 => format!("{name}:{version}@{digest}"),
            _ => format!("{name}:{version}"),
        }
    })
}

fn phases() -> impl Strategy<Value = Phase> {
    let failed = Phase::Failed(Failure {
        kind: ErrorKind::Internal,
        message: String::new(),
    });
    prop_oneof![8 => Just(Phase::Ready), 1 => Just(Phase::Creating), 1 => Just(failed)]
}

fn caches() -> impl Strategy<Value = CacheState> {
    let facts = (
        0..40,
        phases(),
        20..24_u32,
        0..3_i64,
        prop::option::of(NOW - 1..NOW + 2),
    );
    (facts, prop::collection::vec(images(), 1..5), any::<bool>()).prop_map(
        |((key, phase, size_gib, created, expires), images, resolved)| {
            let images: Vec<&str> = images.iter().map(String::as_str).collect();
            let mut state = cache(&format!("key-{key}"), &images);
            state.phase = phase;
            state.size_gib = size_gib;
            state.created_at = at(created);
            state.expires_at = expires.map(at);
            if !resolved {
                state.resolved.clear();
            }
            state
        },
    )
}

fn rules() -> impl Strategy<Value = MatchRules> {
    let need = prop_oneof![Just(Need::Any), (0..4_u32).prop_map(Need::Exactly), Just(Need::All)];
    let order = prop::sample::select(vec![MatchOrder::ClosestSize, MatchOrder::SmallestSize]);
    (need, order, prop::option::of(20..25_u32)).prop_map(|(need, order, storage_gib)| MatchRules {
        need,
        order,
        storage_gib,
    })
}

fn pods() -> impl Strategy<Value = PodRequest> {
    let wish = prop_oneof![
        8 => rules().prop_map(PodWish::Automatic),
        1 => (0..45).prop_map(|key| PodWish::Named {
            id: cache(&format!("key-{key}"), &["a"]).id.to_string(),
            otherwise: Otherwise::Refuse,
        }),
    ];
    (prop::collection::btree_set(images(), 0..6), 0..3_usize, wish).prop_map(|(images, uncounted, wish)| {
        let images: Vec<ImageRef> = images.iter().map(|text| image(text)).collect();
        PodRequest {
            dialect: "test",
            uncounted: images.iter().take(uncounted.saturating_sub(1)).cloned().collect(),
            images,
            wish,
        }
    })
}

#[derive(Clone, Debug)]
enum Change {
    Put(Box<CacheState>),
    Remove(CacheKey),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => caches().prop_map(|state| Change::Put(Box::new(state))),
        1 => (0..40).prop_map(|key| Change::Remove(format!("key-{key}").parse().unwrap())),
    ]
}

/// The rules again, by hand, over every cache.
fn scan(
    caches: &BTreeMap<CacheKey, CacheState>,
    request: &PodRequest,
    now: Timestamp,
) -> Option<(CacheKey, MatchDegree)> {
    let usable = |cache: &&CacheState| cache.phase == Phase::Ready && cache.expires_at.is_none_or(|at| now < at);
    let registry = |image: &ImageRef| image.registry().replace("inner.", "outer.");
    let same =
        |one: &ImageRef, other: &ImageRef| registry(one) == registry(other) && one.repository() == other.repository();
    let exactly = |cache: &CacheState, image: &ImageRef| match image.digest() {
        Some(digest) => {
            let asked = cache
                .images
                .iter()
                .any(|held| same(held, image) && held.digest() == Some(digest));
            let found = |held: &crate::CachedImage| {
                same(&held.reference, image) && (held.manifest == *digest || held.index.as_ref() == Some(digest))
            };
            asked || cache.resolved.iter().any(found)
        }
        None => cache
            .images
            .iter()
            .any(|held| same(held, image) && held.tag() == image.tag()),
    };
    let degree = |cache: &CacheState, images: &[&ImageRef]| {
        let full = images.iter().filter(|image| exactly(cache, image)).count();
        let any = images
            .iter()
            .filter(|image| cache.images.iter().any(|held| same(held, image)));
        MatchDegree {
            full,
            partial: any.count() - full,
        }
    };
    let all: Vec<&ImageRef> = request.images.iter().collect();
    match &request.wish {
        PodWish::Named { id, .. } => {
            let named = caches.values().find(|cache| cache.id.as_str() == id).filter(usable)?;
            Some((named.key.clone(), degree(named, &all)))
        }
        PodWish::Automatic(rules) => {
            let counted: Vec<&ImageRef> = request.counted().collect();
            let mut found: Vec<_> = caches
                .values()
                .filter(usable)
                .filter(|cache| rules.storage_gib.is_none_or(|storage| cache.size_gib <= storage))
                .filter(|cache| {
                    let held = degree(cache, &counted);
                    let enough = match rules.need {
                        Need::Any => true,
                        Need::Exactly(count) => held.full >= count as usize,
                        Need::All => held.full == counted.len(),
                    };
                    enough && held.full + held.partial > 0
                })
                .collect();
            found.sort_by_key(|cache| {
                let distance = match (rules.order, rules.storage_gib) {
                    (MatchOrder::ClosestSize, Some(storage)) => storage - cache.size_gib,
                    _ => cache.size_gib,
                };
                (
                    Reverse(degree(cache, &all)),
                    distance,
                    Reverse(cache.created_at),
                    cache.id.clone(),
                )
            });
            found.first().map(|cache| (cache.key.clone(), degree(cache, &all)))
        }
    }
}

fn decided(index: &MatchIndex, request: &PodRequest) -> Option<(CacheKey, MatchDegree)> {
    match index.decide(request, at(NOW)) {
        Decision::Use { key, degree, .. } => Some((key, degree)),
        Decision::Miss | Decision::Unusable { .. } => None,
    }
}

fn aliases() -> RegistryAliases {
    RegistryAliases::new([("inner.example.com", "outer.example.com")]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// 80 caches and more of few images: both forms of holders occur.
    #[test]
    fn the_index_decides_as_a_scan_does(
        changes in prop::collection::vec(changes(), 0..120),
        pods in prop::collection::vec(pods(), 1..20),
    ) {
        let mut index = MatchIndex::new(aliases());
        let mut caches = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(state) => {
                    index.put(&state);
                    caches.insert(state.key.clone(), *state);
                }
                Change::Remove(key) => {
                    index.remove(&key);
                    caches.remove(&key);
                }
            }
        }
        prop_assert_eq!(index.len(), caches.len());
        let fresh = indexed_with(aliases(), caches.values());
        for pod in &pods {
            let expected = scan(&caches, pod, at(NOW));
            prop_assert_eq!(&decided(&index, pod), &expected, "{:?}", pod);
            prop_assert_eq!(&decided(&fresh, pod), &expected, "a fresh index, {:?}", pod);
            let candidates = index.explain(pod, at(NOW));
            let chosen = candidates.iter().find(|candidate| candidate.verdict == Verdict::Chosen);
            let explained = chosen.map(|candidate| (candidate.cache.key.clone(), candidate.degree));
            prop_assert_eq!(&explained, &expected, "explained, {:?}", pod);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// As many caches of one image as make the index count by bytes.
    #[test]
    fn hot_images_are_decided_as_a_scan_does(
        states in prop::collection::vec(caches(), 200..240),
        pods in prop::collection::vec(pods(), 1..5),
    ) {
        let caches: BTreeMap<CacheKey, CacheState> = (0..)
            .zip(states)
            .map(|(number, state)| {
                let key: CacheKey = format!("hot-{number}").parse().unwrap();
                let id = crate::CacheId::for_key(&key);
                (key.clone(), CacheState { key, id, ..state })
            })
            .collect();
        let index = indexed_with(aliases(), caches.values());
        for pod in &pods {
            prop_assert_eq!(decided(&index, pod), scan(&caches, pod, at(NOW)), "{:?}", pod);
        }
    }
}
