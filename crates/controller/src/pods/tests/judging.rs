//! What pods got, and what they are told.

use imagecache_core::{CACHE_ID_ANNOTATION, Phase};

use super::super::notices;
use super::{AUTO, Bind, ID, TENCENT, cache, index, judged, local, on_alibaba, on_tencent, pod};

const ID_OLD: &str = "k8s.aliyun.com/eci-image-snapshot-id";

#[test]
fn what_pods_got_and_what_they_are_told() {
    let both = cache(&["nginx:1", "redis:1"], Phase::Ready);
    let one = cache(&["nginx:1"], Phase::Ready);
    let building = cache(&["busybox:1"], Phase::Creating);
    let (all, some, not_yet) = (both.id.to_string(), one.id.to_string(), building.id.to_string());
    let index = index(&[both.clone(), one, building]);
    let images = &["nginx:1", "redis:1"][..];
    let ours = CACHE_ID_ANNOTATION;
    let (none, native_alibaba, native_tencent) = (None, Some("alibaba"), Some("tencent"));
    let hit = &[("Normal", "SuccessfulHitImageCache")][..];
    let missed = &[("Warning", "ImageCacheMissed")][..];
    let used = &[("Normal", "ImageCacheUsed")][..];
    for (name, annotations, native, bind, dialect, label, told) in [
        (
            "4 hit",
            &[(AUTO, "true"), (ours, all.as_str())][..],
            none,
            local as Bind,
            "alibaba",
            "hit",
            hit,
        ),
        (
            "4 hit, on its own cloud",
            &[(AUTO, "true"), (ID, &all)],
            native_alibaba,
            on_alibaba,
            "alibaba",
            "hit",
            hit,
        ),
        (
            "4 hit, on the other cloud",
            &[(AUTO, "true"), (TENCENT, &all)],
            native_tencent,
            on_tencent,
            "alibaba",
            "hit",
            hit,
        ),
        (
            "4 partial hit",
            &[(AUTO, "true"), (ours, &some)],
            none,
            local,
            "alibaba",
            "partial_hit",
            hit,
        ),
        ("4 miss", &[(AUTO, "true")], none, local, "alibaba", "miss", missed),
        (
            "4 named",
            &[(ID, &all), (ours, &all)],
            none,
            local,
            "alibaba",
            "hit",
            hit,
        ),
        (
            "4 named, and admission did not see the pod",
            &[(ID, &all)],
            none,
            local,
            "alibaba",
            "miss",
            missed,
        ),
        (
            "4 named and unknown",
            &[(ID, "imc-gone")],
            none,
            local,
            "alibaba",
            "not_found",
            &[("Warning", "ImageCacheNotFound")],
        ),
        (
            "4 named and not Ready",
            &[(ID, &not_yet)],
            none,
            local,
            "alibaba",
            "not_ready",
            &[("Normal", "ImageCacheNotComplete")],
        ),
        (
            "6.5 hit",
            &[(TENCENT, "auto"), (ours, &all)],
            none,
            local,
            "tencent",
            "hit",
            used,
        ),
        (
            "6.5 hit, on its own cloud",
            &[(TENCENT, &all)],
            native_tencent,
            on_tencent,
            "tencent",
            "hit",
            used,
        ),
        (
            "6.5 hit, on the other cloud",
            &[(TENCENT, "auto"), (ID, &all)],
            native_alibaba,
            on_alibaba,
            "tencent",
            "hit",
            used,
        ),
        (
            "6.5 an automatic miss has no event",
            &[(TENCENT, "auto")],
            none,
            local,
            "tencent",
            "miss",
            &[],
        ),
        (
            "6.5 manual, an image is not in the cache",
            &[(TENCENT, &some), (ours, &some)],
            none,
            local,
            "tencent",
            "partial_hit",
            &[("Normal", "ImageCacheUsed"), ("Warning", "ImageCacheIncomplete")],
        ),
        (
            "6.5 manual, no such cache",
            &[(TENCENT, "imc-gone")],
            none,
            local,
            "tencent",
            "not_found",
            &[("Warning", "ImageCacheNotUsed")],
        ),
        (
            "what admission chose is gone: the pod never named it",
            &[(AUTO, "true"), (ours, "imc-gone")],
            none,
            local,
            "alibaba",
            "miss",
            missed,
        ),
        (
            "4 automatic, on its own cloud: that may hit a cache which is not ours, and tells",
            &[(AUTO, "true")],
            native_alibaba,
            on_alibaba,
            "alibaba",
            "left_to_cloud",
            &[],
        ),
        (
            "what admission chose on its own cloud is gone",
            &[(AUTO, "true"), (ID, "imc-gone")],
            native_alibaba,
            on_alibaba,
            "alibaba",
            "left_to_cloud",
            &[],
        ),
        (
            "4 automatic, on the other cloud: that knows nothing of it",
            &[(AUTO, "true")],
            native_tencent,
            on_tencent,
            "alibaba",
            "miss",
            missed,
        ),
        (
            "6.5 automatic, on its own cloud",
            &[(TENCENT, "auto")],
            native_tencent,
            on_tencent,
            "tencent",
            "left_to_cloud",
            &[],
        ),
        (
            "5.1 named by the old name, on its own cloud, which reads that itself",
            &[(ID_OLD, &all)],
            native_alibaba,
            on_alibaba,
            "alibaba",
            "hit",
            hit,
        ),
        (
            "5.1 named by the old name, and admission did not see the pod",
            &[(ID_OLD, &all)],
            none,
            local,
            "alibaba",
            "miss",
            missed,
        ),
        (
            "6.1 an id on its own cloud, where its author may have written auto",
            &[(TENCENT, &not_yet)],
            native_tencent,
            on_tencent,
            "tencent",
            "not_ready",
            &[("Normal", "ImageCacheNotUsed")],
        ),
        (
            "6.1 named and not Ready",
            &[(TENCENT, &not_yet)],
            none,
            local,
            "tencent",
            "not_ready",
            &[("Warning", "ImageCacheNotUsed")],
        ),
        (
            "named in our own form",
            &[(ours, &all)],
            none,
            local,
            "imagecache",
            "hit",
            used,
        ),
    ] {
        let judgement = judged(&pod(annotations, images), native, bind, &index).expect(name);
        assert_eq!(
            (judgement.request.dialect, judgement.label()),
            (dialect, label),
            "{name}"
        );
        let found: Vec<_> = notices::outcome(&judgement)
            .into_iter()
            .chain(notices::lacking(&judgement))
            .collect();
        let words: Vec<_> = found
            .iter()
            .map(|notice| (notice.severity.as_str(), notice.reason))
            .collect();
        assert_eq!(words, told, "{name}");
        if dialect == "alibaba" && !told.is_empty() {
            assert!(
                found[0].note.starts_with("[eci.imagecache]"),
                "{name}: {}",
                found[0].note
            );
        }
        if label == "hit" {
            assert!(found[0].note.contains(&all), "{name}: {}", found[0].note);
        }
    }
    assert_eq!(
        judged(&pod(&[], images), None, local, &index),
        None,
        "it asks for nothing"
    );
    let foreign = pod(&[(ID, "imc-foreign")], images);
    assert_eq!(
        judged(&foreign, native_alibaba, on_alibaba, &index),
        None,
        "a cache of the cloud's own that is not ours: the cloud judges"
    );
    assert_eq!(
        judged(&pod(&[(AUTO, "?")], images), None, local, &index),
        None,
        "nobody knows what it asks for"
    );
}

#[test]
fn the_event_of_a_creation() {
    let judgement = |annotations: &[(&str, &str)]| judged(&pod(annotations, &["a"]), None, local, &index(&[])).unwrap();
    let alibaba = judgement(&[(AUTO, "true")]);
    let created = notices::created(&alibaba, "auto-create-for-x").unwrap();
    assert_eq!(
        (created.severity.as_str(), created.reason),
        ("Normal", "ImageCacheAutoCreated")
    );
    assert!(created.note.starts_with("[eci.imagecache]") && created.note.contains("auto-create-for-x"));
    let failed = notices::not_created(&alibaba, "want of room").unwrap();
    assert!(
        failed
            .note
            .starts_with("[eci.imagecache]Image cache auto create failed for want of room")
    );
    let tencent = judgement(&[(TENCENT, "auto")]);
    assert_eq!(notices::created(&tencent, "x"), None, "Tencent writes none");
}
