//! Rules that both vendors leave to others: how images are named, which do not count, and what is told of the losers.

use super::support::{NOW, at, cache, chosen, created, image, indexed, indexed_with, manifest, pod, sized};
use super::vendors::{ALIBABA, PERFECT, TENCENT, check, exactly, expiring, phase, unknown, without_digests};
use crate::matching::RegistryAliases;
use crate::{MatchRules, PodRequest};

/// Where both are silent (alibaba 10.1, tencent 7.1): names are those of the distribution project, digests name content.
#[test]
fn names_and_digests() {
    let by_digest = format!("nginx@{}", manifest("nginx:1"));
    let by_both = format!("nginx:1@{}", manifest("nginx:1"));
    let pinned = |key| without_digests(cache(key, &[&by_both]));
    check(vec![
        (
            "alibaba 10.1, tencent 7.1, normalisation: names are compared in full",
            vec![cache("full-name", &["docker.io/library/nginx:1"])],
            pod(TENCENT, &["nginx:1"]),
            "full-name",
        ),
        (
            "alibaba 10.1, tencent 7.1, normalisation: Docker Hub's old name is the same registry",
            vec![cache("old-name", &["index.docker.io/team/app:1"])],
            pod(TENCENT, &["team/app:1"]),
            "old-name",
        ),
        (
            "alibaba 7.1, registry path: another registry is another image",
            vec![cache("elsewhere", &["example.com/library/nginx:1"])],
            pod(ALIBABA, &["nginx:1"]),
            "-",
        ),
        (
            "alibaba 10.1, tencent 7.1, digests: one matches the manifest that the cache holds, as Knative asks for it",
            vec![cache("holds", &["nginx:1"])],
            pod(TENCENT, &[&by_digest]),
            "holds",
        ),
        (
            "alibaba 10.1, digests: with tag and digest the digest decides",
            vec![cache("tag", &["nginx:1"]), cache("digest-of-1", &["nginx:2"])],
            pod(PERFECT, &[&format!("nginx:1@{}", manifest("nginx:2"))]),
            "digest-of-1",
        ),
        (
            "tencent 7.1, digests: one that nobody resolved matches what the cache was asked for",
            vec![pinned("pinned")],
            pod(TENCENT, &[&by_digest]),
            "pinned",
        ),
        (
            "tencent 7.1, digests: a cache made from tag and digest has the tag too",
            vec![pinned("pinned")],
            pod(TENCENT, &["nginx:1"]),
            "pinned",
        ),
        (
            "alibaba 10.1, digests: a cloud that does not tell them holds another version at best",
            vec![without_digests(cache("unresolved", &["nginx:1"]))],
            pod(ALIBABA, &[&by_digest]),
            "unresolved",
        ),
        (
            "tencent 7.1 (1), digests: and that is no complete match",
            vec![without_digests(cache("unresolved", &["nginx:1"]))],
            pod(TENCENT, &[&by_digest]),
            "-",
        ),
    ]);
}

#[test]
fn sidecars_do_not_count() {
    let queue = "gcr.io/knative-releases/queue-proxy:1";
    let with_queue = |rules| PodRequest {
        uncounted: vec![image(queue)],
        ..pod(rules, &["app:1", queue])
    };
    check(vec![
        (
            "tencent 7.1, several images: a sidecar of Knative's does not count, so the others are enough",
            vec![cache("app", &["app:1"])],
            with_queue(TENCENT),
            "app",
        ),
        (
            "alibaba 7.1, match degree: what does not count is no reason to take a cache",
            vec![cache("queue", &[queue])],
            with_queue(ALIBABA),
            "-",
        ),
        (
            "tencent 7.1, several images: but it makes a cache better",
            vec![
                created(9, cache("app", &["app:1"])),
                created(1, cache("both", &["app:1", queue])),
            ],
            with_queue(TENCENT),
            "both",
        ),
        (
            "alibaba 5.1 imc-match-count-request: what does not count does not fill a count",
            vec![cache("half", &["app:2", queue])],
            with_queue(exactly(1)),
            "-",
        ),
    ]);
}

/// Neither order (alibaba 7.1 step 2, tencent 7.1) says more after the creation time.
#[test]
fn equal_caches_are_told_apart_by_id() {
    let (one, two) = (cache("one", &["nginx:1"]), cache("two", &["nginx:1"]));
    let first = std::cmp::min_by_key(&one, &two, |cache| cache.id.clone())
        .key
        .to_string();
    for caches in [[&one, &two], [&two, &one]] {
        assert_eq!(chosen(&indexed(caches), &pod(ALIBABA, &["nginx:1"])), first);
    }
}

/// `registry` against `registry-vpc` is open (alibaba 10.1), so the configuration says it.
#[test]
fn aliases_mean_one_registry() {
    let (inner, outer) = (
        "registry-vpc.cn-hangzhou.aliyuncs.com",
        "registry.cn-hangzhou.aliyuncs.com",
    );
    let aliases = RegistryAliases::new([(inner, outer)]).unwrap();
    let image = |registry: &str| format!("{registry}/team/app:1");
    for (held, asked) in [(inner, outer), (outer, inner), (inner, inner), (outer, outer)] {
        let cache = cache("c", &[&image(held)]);
        let request = pod(TENCENT, &[&image(asked)]);
        assert_eq!(
            chosen(&indexed_with(aliases.clone(), [&cache]), &request),
            "c",
            "{held}, {asked}"
        );
        let without = if held == asked { "c" } else { "-" };
        assert_eq!(
            chosen(&indexed([&cache]), &request),
            without,
            "{held}, {asked}, no aliases"
        );
    }
}

#[test]
fn every_verdict_has_its_reason() {
    let index = indexed(&[
        sized(28, cache("chosen", &["nginx:1"])),
        sized(20, cache("far", &["nginx:1"])),
        created(1, sized(28, cache("old", &["nginx:1"]))),
        cache("partial", &["nginx:2"]),
        sized(40, cache("large", &["nginx:1"])),
        expiring(NOW, cache("over", &["nginx:1"])),
        phase(unknown("Updating"), cache("updating", &["nginx:1"])),
        cache("unrelated", &["redis"]),
    ]);
    let why = |rules: MatchRules| -> Vec<(String, &'static str, String)> {
        let candidates = index.explain(&pod(rules, &["nginx:1"]), at(NOW));
        let best = candidates.first().unwrap().cache.id.to_string();
        let row = |candidate: &crate::matching::Candidate<'_>| {
            let why = candidate.why.replace(&best, "BEST");
            (candidate.cache.key.to_string(), candidate.verdict.as_str(), why)
        };
        candidates.iter().map(row).collect()
    };
    let row = |key: &str, verdict, why: &str| (key.to_owned(), verdict, why.to_owned());
    let common = [
        row("chosen", "chosen", "the best of those that can be used"),
        row("old", "outranked", "BEST agrees as well, is as large, and is newer"),
        row(
            "far",
            "outranked",
            "BEST agrees as well, and its 28 GiB are closer to the pod's 30 GiB of temporary storage than 20 GiB",
        ),
    ];
    let found = why(ALIBABA);
    assert_eq!(found.get(..3), Some(&common[..]));
    assert!(found.contains(&row(
        "partial",
        "outranked",
        "BEST agrees with more of the pod's images"
    )));
    for expected in [
        row(
            "large",
            "rejected",
            "its 40 GiB are more than the pod's 30 GiB of temporary storage",
        ),
        row("over", "rejected", "it has expired"),
        row("updating", "rejected", "it is not Ready but Updating"),
    ] {
        assert!(found.contains(&expected), "{found:?}");
    }
    assert_eq!(found.len(), 7, "a cache with nothing in common is no candidate");
    let strict = why(PERFECT);
    let partial = row(
        "partial",
        "rejected",
        "it holds 0 of 1 images exactly, and all are asked for",
    );
    assert!(strict.contains(&partial), "{strict:?}");
}
