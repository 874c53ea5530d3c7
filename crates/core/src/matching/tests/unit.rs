//! What holds for matching whatever the vendor.

use super::support::{NOW, at, cache, chosen, created, image, index, indexed, manifest, naming, pod, sized};
use crate::matching::{Decision, MatchDegree, MatchIndex, Verdict};
use crate::{ErrorKind, Failure, MatchOrder, MatchRules, Need, Otherwise, Phase};

const ANY: MatchRules = MatchRules {
    need: Need::Any,
    order: MatchOrder::SmallestSize,
    storage_gib: None,
};

fn order(images: &[&str], index: &MatchIndex) -> Vec<String> {
    index
        .explain(&pod(ANY, images), at(NOW))
        .iter()
        .filter(|candidate| candidate.verdict != Verdict::Rejected)
        .map(|candidate| candidate.cache.key.to_string())
        .collect()
}

#[test]
fn degree_then_size_then_age() {
    let index = indexed(&[
        created(9, cache("partial", &["nginx:2"])),
        created(9, sized(40, cache("big", &["nginx:1"]))),
        created(1, cache("old", &["nginx:1"])),
        created(2, cache("new", &["nginx:1"])),
        created(1, sized(90, cache("both", &["nginx:1", "redis"]))),
        created(1, cache("other", &["busybox"])),
    ]);
    assert_eq!(
        order(&["nginx:1", "redis"], &index),
        ["both", "new", "old", "big", "partial"]
    );
    assert_eq!(order(&["postgres"], &index), [""; 0]);
}

#[test]
fn only_ready_caches_match() {
    let failed = Phase::Failed(Failure {
        kind: ErrorKind::Internal,
        message: String::new(),
    });
    for phase in [
        failed,
        Phase::Creating,
        Phase::Pending,
        Phase::Unknown("Updating".into()),
    ] {
        let mut cache = cache("c", &["nginx"]);
        cache.phase = phase;
        assert_eq!(
            chosen(&indexed([&cache]), &pod(ANY, &["nginx"])),
            "-",
            "{}",
            cache.phase
        );
    }
}

#[test]
fn digests_decide() {
    let caches = indexed(&[cache("c", &["nginx:1"])]);
    let (manifest, index) = (manifest("nginx:1"), index("nginx:1"));
    let other = crate::Digest::sha256_of(b"other");
    for (name, image, full) in [
        ("manifest digest", format!("nginx@{manifest}"), 1),
        ("index digest", format!("nginx@{index}"), 1),
        ("tag and digest", format!("nginx:9@{manifest}"), 1),
        ("another digest under the same tag", format!("nginx:1@{other}"), 0),
        ("same digest in another repository", format!("redis@{manifest}"), 0),
    ] {
        let found = match caches.decide(&pod(ANY, &[&image]), at(NOW)) {
            Decision::Use { degree, .. } => degree.full,
            _ => 0,
        };
        assert_eq!(found, full, "{name}");
    }
}

#[test]
fn the_index_follows_its_caches() {
    let mut index = indexed(&[cache("a", &["nginx:1"])]);
    let request = pod(ANY, &["nginx:1"]);
    let mut changed = cache("a", &["nginx:1"]);
    changed.phase = Phase::Creating;
    index.put(&changed);
    assert_eq!(chosen(&index, &request), "-", "a phase that changed");
    index.put(&cache("a", &["redis"]));
    assert_eq!(chosen(&index, &request), "-", "images that changed");
    assert_eq!(chosen(&index, &pod(ANY, &["redis"])), "a");
    index.remove(&"a".parse().unwrap());
    index.remove(&"a".parse().unwrap());
    assert_eq!(chosen(&index, &pod(ANY, &["redis"])), "-", "removed");
    assert!(index.is_empty());
    index.put(&cache("b", &["redis"]));
    assert_eq!(chosen(&index, &pod(ANY, &["redis"])), "b", "a place that is used again");
    assert_eq!(index.len(), 1);
}

#[test]
fn a_renamed_cache_keeps_its_id() {
    let old = cache("old", &["nginx"]);
    let new = crate::CacheState {
        id: old.id.clone(),
        ..cache("new", &["nginx"])
    };
    let mut index = indexed([&old, &new]);
    index.remove(&old.key);
    let found = index.get(old.id.as_str()).map(|cache| cache.key.to_string());
    assert_eq!(found.as_deref(), Some("new"));
}

#[test]
fn the_degree_counts_every_image() {
    let index = indexed(&[cache("c", &["app:1", "side:1", "db:1"])]);
    let mut request = pod(ANY, &["app:1", "app:2", "side:1", "other"]);
    request.uncounted = vec![image("side:1")];
    let Decision::Use { degree, .. } = index.decide(&request, at(NOW)) else {
        panic!("a cache was expected")
    };
    assert_eq!(degree, MatchDegree { full: 2, partial: 1 });
}

#[test]
fn a_named_cache_is_used_or_the_reason_is_told() {
    let good = cache("good", &["redis"]);
    let mut creating = cache("creating", &["nginx:1"]);
    creating.phase = Phase::Creating;
    let mut updating = cache("updating", &["nginx:1"]);
    updating.phase = Phase::Unknown("Updating".into());
    let mut expired = cache("expired", &["nginx:1"]);
    expired.expires_at = Some(at(NOW));
    let mut lasting = cache("lasting", &["nginx:1"]);
    lasting.expires_at = Some(at(NOW + 1));
    let unknown = cache("unknown", &["nginx:1"]);
    let index = indexed([&good, &creating, &updating, &expired, &lasting]);
    for (rule, named, expected) in [
        ("alibaba 5.1, tencent 7.2: the id is enough", &good, "good"),
        ("alibaba 4: its time is not over", &lasting, "lasting"),
        (
            "alibaba 5.1, 7.5, tencent 4.2: not Ready",
            &creating,
            "unusable: it is not Ready but Creating",
        ),
        (
            "alibaba 4, tencent 4.2: nor is what is being updated",
            &updating,
            "unusable: it is not Ready but Updating",
        ),
        (
            "alibaba 4: ExpireDateTime ends a named cache too",
            &expired,
            "unusable: it has expired",
        ),
        (
            "alibaba 7.5, tencent 7.2: unknown id",
            &unknown,
            "unusable: there is no such cache",
        ),
    ] {
        assert_eq!(
            chosen(&index, &naming(&named.id, Otherwise::Refuse)),
            expected,
            "{rule}"
        );
    }
    for otherwise in [Otherwise::Refuse, Otherwise::Pull] {
        let decision = index.decide(&naming(&creating.id, otherwise), at(NOW));
        let expected = Decision::Unusable {
            id: creating.id.to_string(),
            why: crate::matching::Unusable::NotReady("Creating".into()),
            otherwise,
        };
        assert_eq!(decision, expected);
    }
}
