//! Both vendors' published rules, sentence by sentence. `alibaba` and `tencent` in a row's name are the fact sheets of the
//! clouds' documentation, with the section.

use super::support::{NOW, at, cache, chosen, created, indexed, naming, pod, sized};
use crate::matching::{MatchIndex, Verdict};
use crate::{CacheState, ErrorKind, Failure, MatchRules, Need, Otherwise, Phase, PodRequest};

pub(super) const ALIBABA: MatchRules = MatchRules::ALIBABA;
pub(super) const TENCENT: MatchRules = MatchRules::TENCENT;
pub(super) const PERFECT: MatchRules = MatchRules {
    need: Need::All,
    ..ALIBABA
};

pub(super) fn exactly(count: u32) -> MatchRules {
    MatchRules {
        need: Need::Exactly(count),
        ..ALIBABA
    }
}

fn stored(storage_gib: u32, rules: MatchRules) -> MatchRules {
    MatchRules {
        storage_gib: Some(storage_gib),
        ..rules
    }
}

pub(super) fn phase(phase: Phase, cache: CacheState) -> CacheState {
    CacheState { phase, ..cache }
}

pub(super) fn unknown(word: &str) -> Phase {
    Phase::Unknown(word.to_owned())
}

fn failed() -> Phase {
    Phase::Failed(Failure {
        kind: ErrorKind::NotFound,
        message: "no such image".to_owned(),
    })
}

pub(super) fn expiring(second: i64, cache: CacheState) -> CacheState {
    CacheState {
        expires_at: Some(at(second)),
        ..cache
    }
}

pub(super) fn without_digests(cache: CacheState) -> CacheState {
    CacheState {
        resolved: Vec::new(),
        ..cache
    }
}

/// A rule, the caches, the pod, and the key of the cache that it gets.
type Fact = (&'static str, Vec<CacheState>, PodRequest, &'static str);

/// The decision is as expected, in any order of the caches, and the explanation is of the same decision.
pub(super) fn check(facts: Vec<Fact>) {
    for (rule, mut caches, request, expected) in facts {
        for _ in 0..=caches.len() {
            let index = indexed(&caches);
            assert_eq!(chosen(&index, &request), expected, "{rule}");
            assert_eq!(explained(&index, &request), expected, "{rule}, explained");
            if !caches.is_empty() {
                caches.rotate_left(1);
            }
        }
    }
}

fn explained(index: &MatchIndex, request: &PodRequest) -> String {
    let candidates = index.explain(request, at(NOW));
    let chosen = candidates.iter().find(|candidate| candidate.verdict == Verdict::Chosen);
    chosen.map_or_else(|| "-".to_owned(), |candidate| candidate.cache.key.to_string())
}

#[test]
fn alibaba_candidates() {
    let nginx = |key| cache(key, &["nginx:1"]);
    check(vec![
        (
            "alibaba 7.1 step 1: a cache whose size fits the temporary storage is a candidate",
            vec![sized(30, nginx("fits")), sized(31, nginx("too-large"))],
            pod(ALIBABA, &["nginx:1"]),
            "fits",
        ),
        (
            "alibaba 7.1 step 1: one that does not fit is none, even if it alone matches",
            vec![sized(31, nginx("too-large"))],
            pod(ALIBABA, &["nginx:1"]),
            "-",
        ),
        (
            "alibaba 7.1 step 1, 5.2: what was added to the 30 GiB counts",
            vec![sized(31, nginx("fits-now"))],
            pod(stored(50, ALIBABA), &["nginx:1"]),
            "fits-now",
        ),
        (
            "alibaba 4: Ready is usable",
            vec![nginx("ready")],
            pod(ALIBABA, &["nginx:1"]),
            "ready",
        ),
        (
            "alibaba 4: no other status is documented as usable",
            vec![
                phase(Phase::Pending, nginx("preparing")),
                phase(Phase::Creating, nginx("creating")),
                phase(failed(), nginx("failed")),
                phase(unknown("Updating"), nginx("updating")),
                phase(unknown("UpdateFailed"), nginx("update-failed")),
            ],
            pod(ALIBABA, &["nginx:1"]),
            "-",
        ),
        (
            "alibaba 4: ExpireDateTime ends a cache",
            vec![
                expiring(NOW, nginx("over")),
                expiring(NOW + 1, sized(20, nginx("lasts"))),
            ],
            pod(ALIBABA, &["nginx:1"]),
            "lasts",
        ),
        (
            "alibaba 4: an ExpireDateTime that lies ahead does not mean anything now",
            vec![expiring(NOW + 86_400, nginx("lasts"))],
            pod(ALIBABA, &["nginx:1"]),
            "lasts",
        ),
        (
            "alibaba 7.1: on a miss the pod pulls normally",
            vec![cache("other", &["redis"])],
            pod(ALIBABA, &["nginx:1"]),
            "-",
        ),
        (
            "alibaba 7.1: all caches compete, whoever made them",
            vec![nginx("manual"), created(2_000, nginx("auto-create-for-eci-1"))],
            pod(ALIBABA, &["nginx:1"]),
            "auto-create-for-eci-1",
        ),
    ]);
}

/// Of the region, as both sheets say in 7.1: an index has the caches of one provider, whose calls all name one region
/// (`what_is_sent` in the tests of each).
#[test]
fn a_named_cache_does_not_compete() {
    let named = sized(40, cache("named", &["redis:6"]));
    let better = created(9_000, sized(30, cache("better", &["nginx:1"])));
    let both = || vec![named.clone(), better.clone()];
    check(vec![
        (
            "alibaba 7.1: all caches of the region compete",
            both(),
            pod(ALIBABA, &["nginx:1"]),
            "better",
        ),
        (
            "alibaba 7.1: the explicit id avoids that, whatever the cache holds and how large it is",
            both(),
            naming(&named.id, Otherwise::Refuse),
            "named",
        ),
        (
            "tencent 7.2: the named cache's disk is attached without checking images",
            both(),
            naming(&named.id, Otherwise::Pull),
            "named",
        ),
    ]);
}

#[test]
fn alibaba_order() {
    let nginx = |key| cache(key, &["nginx:1"]);
    check(vec![
        (
            "alibaba 7.1 step 2: match degree comes before size and creation time",
            vec![
                created(9_000, sized(30, nginx("close-and-new"))),
                created(1, sized(20, cache("matches-more", &["nginx:1", "redis:7"]))),
            ],
            pod(ALIBABA, &["nginx:1", "redis:7"]),
            "matches-more",
        ),
        (
            "alibaba 7.1: the degree is agreement in repository and version",
            vec![
                created(9_000, sized(30, cache("repository", &["nginx:2"]))),
                sized(20, nginx("version-too")),
            ],
            pod(ALIBABA, &["nginx:1"]),
            "version-too",
        ),
        (
            "alibaba 7.1: same path and other tag is a partial match, which is better than none",
            vec![cache("repository", &["nginx:2"])],
            pod(ALIBABA, &["nginx:1"]),
            "repository",
        ),
        (
            "alibaba 7.1: one full match is more than several partial ones",
            vec![
                cache("partial", &["nginx:2", "redis:8", "app:2"]),
                cache("full", &["app:1"]),
            ],
            pod(ALIBABA, &["nginx:1", "redis:7", "app:1"]),
            "full",
        ),
        (
            "alibaba 7.1: of equally many full matches more partial ones are better",
            vec![cache("full", &["app:1"]), cache("and-partial", &["app:1", "nginx:2"])],
            pod(ALIBABA, &["app:1", "nginx:1"]),
            "and-partial",
        ),
        (
            "alibaba 7.1 step 2: of equal degree the size closest to what is needed",
            vec![
                created(9_000, sized(20, nginx("far"))),
                created(1, sized(28, nginx("close"))),
            ],
            pod(ALIBABA, &["nginx:1"]),
            "close",
        ),
        (
            "alibaba 7.1 step 2: of equal size the newest",
            vec![created(1, nginx("older")), created(2, nginx("newer"))],
            pod(ALIBABA, &["nginx:1"]),
            "newer",
        ),
        (
            "alibaba 7.1: a floating tag matches by its text, whatever it means by now",
            vec![cache("stale", &["nginx"])],
            pod(PERFECT, &["nginx:latest"]),
            "stale",
        ),
    ]);
}

#[test]
fn alibaba_annotations() {
    let both = |key| cache(key, &["nginx:1", "redis:7"]);
    check(vec![
        (
            "alibaba 5.1 imc-perfect-match: a cache that holds all images fully is used",
            vec![both("all")],
            pod(PERFECT, &["nginx:1", "redis:7"]),
            "all",
        ),
        (
            "alibaba 5.1 imc-perfect-match: only if all of the images match fully",
            vec![
                cache("half", &["nginx:1"]),
                cache("other-version", &["nginx:1", "redis:6"]),
            ],
            pod(PERFECT, &["nginx:1", "redis:7"]),
            "-",
        ),
        (
            "alibaba 5.1 imc-perfect-match: demanded and nothing fits, then the pod gets none and pulls",
            vec![cache("redis", &["redis:7"]), cache("nginx", &["nginx:1"])],
            pod(PERFECT, &["nginx:1", "redis:7"]),
            "-",
        ),
        (
            "alibaba 5.1 imc-perfect-match: a cache may hold more than the pod asks for",
            vec![both("more")],
            pod(PERFECT, &["redis:7"]),
            "more",
        ),
        (
            "alibaba 5.1 imc-perfect-match: among those the published order holds",
            vec![
                sized(20, both("far")),
                sized(25, both("close")),
                sized(40, both("too-large")),
            ],
            pod(PERFECT, &["nginx:1", "redis:7"]),
            "close",
        ),
        (
            "alibaba 5.1 imc-match-count-request: that many images must match fully",
            vec![cache("one", &["nginx:1", "redis:6"]), both("two")],
            pod(exactly(2), &["nginx:1", "redis:7", "app:1"]),
            "two",
        ),
        (
            "alibaba 5.1 imc-match-count-request: fewer are not enough",
            vec![cache("one", &["nginx:1", "redis:6", "app:2"])],
            pod(exactly(2), &["nginx:1", "redis:7", "app:1"]),
            "-",
        ),
        (
            "alibaba 5.1 imc-match-count-request: more are better",
            vec![both("two"), cache("three", &["nginx:1", "redis:7", "app:1"])],
            pod(exactly(2), &["nginx:1", "redis:7", "app:1"]),
            "three",
        ),
        (
            "alibaba 5.1 imc-match-count-request: more than the pod has can never be",
            vec![both("all")],
            pod(exactly(3), &["nginx:1", "redis:7"]),
            "-",
        ),
        (
            "alibaba 5.1 imc-match-count-request: zero asks for nothing more than any match",
            vec![cache("partial", &["nginx:2"])],
            pod(exactly(0), &["nginx:1"]),
            "partial",
        ),
    ]);
}

#[test]
fn tencent_order() {
    let nginx = |key| cache(key, &["nginx:1"]);
    check(vec![
        (
            "tencent 7.1 (1): name and version identical can match",
            vec![nginx("same")],
            pod(TENCENT, &["nginx:1"]),
            "same",
        ),
        (
            "tencent 7.1 (1): another version cannot match at all",
            vec![cache("version", &["nginx:2"]), cache("name", &["redis:1"])],
            pod(TENCENT, &["nginx:1"]),
            "-",
        ),
        (
            "tencent 7.1, several images: all of them must be in one cache",
            vec![cache("first", &["nginx:1"]), cache("second", &["redis:7"])],
            pod(TENCENT, &["nginx:1", "redis:7"]),
            "-",
        ),
        (
            "tencent 7.1, several images: one cache that holds all of them, and more",
            vec![
                cache("first", &["nginx:1"]),
                cache("all", &["app:1", "redis:7", "nginx:1"]),
            ],
            pod(TENCENT, &["nginx:1", "redis:7"]),
            "all",
        ),
        (
            "tencent 7.1 (2): smaller cache size first",
            vec![
                created(9_000, sized(50, nginx("newer"))),
                created(1, sized(20, nginx("smaller"))),
            ],
            pod(TENCENT, &["nginx:1"]),
            "smaller",
        ),
        (
            "tencent 7.1 (3): later creation first",
            vec![created(1, nginx("earlier")), created(2, nginx("later"))],
            pod(TENCENT, &["nginx:1"]),
            "later",
        ),
        (
            "tencent 7.1: no size is too large",
            vec![sized(5_000, nginx("huge"))],
            pod(TENCENT, &["nginx:1"]),
            "huge",
        ),
        (
            "tencent 7.1, status, 4.2: only Ready",
            vec![
                phase(Phase::Pending, nginx("pending")),
                phase(failed(), nginx("failed")),
                phase(unknown("Updating"), nginx("updating")),
                phase(unknown("UpdateFailed"), nginx("update-failed")),
            ],
            pod(TENCENT, &["nginx:1"]),
            "-",
        ),
        (
            "tencent 7.1, snapshotter: caches of ours have none of their own, since CreateImageCache (3.1) takes none",
            vec![nginx("default")],
            pod(TENCENT, &["nginx:1"]),
            "default",
        ),
        (
            "tencent 7.1: `latest` matches by text",
            vec![cache("stale", &["nginx:latest"])],
            pod(TENCENT, &["nginx"]),
            "stale",
        ),
        (
            "tencent 7.1, miss: the pod starts anyway, with no cache",
            vec![],
            pod(TENCENT, &["nginx:1"]),
            "-",
        ),
    ]);
}
