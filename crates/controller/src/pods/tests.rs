//! The decisions about pods, a row for each rule. Sections are those of the vendors' fact sheets.

use imagecache_core::matching::{MatchIndex, RegistryAliases};
use imagecache_core::{
    CACHE_ID_ANNOTATION, CacheId, CacheKey, CacheSpec, CacheState, ErrorKind, Failure, Phase, PodPatch,
};
use imagecache_k8s_api::pod::PodView;
use imagecache_k8s_api::{SecretRef, alibaba, tencent};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::automatic::{self, Existing, Standing, make_room};
use super::judge::{Judgement, judge};
use super::keeper::is_under_way;
use super::notices;
use super::settings::Lifetime;

const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const ID: &str = "k8s.aliyun.com/eci-imc-id";
const TENCENT: &str = "eks.tke.cloud.tencent.com/use-image-cache";

/// How a provider names a cache in a pod.
type Bind = fn(&CacheId) -> PodPatch;

fn local(id: &CacheId) -> PodPatch {
    PodPatch::annotation(CACHE_ID_ANNOTATION, id.as_str())
}

fn on_tencent(id: &CacheId) -> PodPatch {
    PodPatch::annotation(TENCENT, id.as_str())
}

fn on_alibaba(id: &CacheId) -> PodPatch {
    PodPatch::annotation(ID, id.as_str())
}

fn cache(images: &[&str], phase: Phase) -> CacheState {
    let spec = CacheSpec::new(images.iter().map(|image| image.parse().unwrap()).collect());
    let key = CacheKey::new(&images.join("-"), &spec);
    CacheState {
        phase,
        ..CacheState::requested(&key, &spec, Timestamp::UNIX_EPOCH)
    }
}

fn failure() -> Phase {
    Phase::Failed(Failure {
        kind: ErrorKind::NotFound,
        message: "gone".to_owned(),
    })
}

fn index(caches: &[CacheState]) -> MatchIndex {
    let mut index = MatchIndex::new(RegistryAliases::default());
    for cache in caches {
        index.put(cache);
    }
    index
}

fn pod(annotations: &[(&str, &str)], images: &[&str]) -> PodView {
    let containers: Vec<Value> = images
        .iter()
        .map(|image| json!({ "name": "c", "image": image }))
        .collect();
    let annotations: serde_json::Map<_, _> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    let pod = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": containers } });
    serde_json::from_value(pod).unwrap()
}

fn judged(pod: &PodView, native: Option<&str>, bind: Bind, index: &MatchIndex) -> Option<Judgement> {
    judge(pod, native, bind, |request| {
        index.decide(request, Timestamp::UNIX_EPOCH)
    })
}

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
        if dialect == "alibaba" {
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

#[test]
fn when_a_cache_is_made() {
    let pod = |annotations: &[(&str, &str)]| pod(annotations, &["nginx:1", "redis:1"]);
    let auto = pod(&[(AUTO, "true")]);
    let full = &["nginx:1", "redis:1", "busybox"][..];
    for (name, pod, images, phase, there, coming) in [
        ("7.1 a full match", &auto, full, Phase::Ready, true, false),
        (
            "7.1 less than a full match",
            &auto,
            &["nginx:1"],
            Phase::Ready,
            false,
            false,
        ),
        (
            "7.1 another version",
            &auto,
            &["nginx:2", "redis:1"],
            Phase::Ready,
            false,
            false,
        ),
        ("being built", &auto, full, Phase::Creating, false, true),
        ("stalled", &auto, full, Phase::Pending, false, true),
        ("failed recently", &auto, full, failure(), false, true),
        (
            "another one is being built",
            &auto,
            &["nginx:1"],
            Phase::Creating,
            false,
            false,
        ),
    ] {
        let index = index(&[cache(images, phase)]);
        let request = judged(pod, None, local, &index).unwrap().for_everything().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let decision = index.decide(&request, now);
        let found = matches!(decision, imagecache_core::matching::Decision::Use { .. });
        assert_eq!((found, is_under_way(&index, &request)), (there, coming), "{name}");
    }
    let named = judged(&pod(&[(ID, "imc-a")]), None, local, &index(&[])).unwrap();
    assert_eq!(
        named.for_everything(),
        None,
        "5.1 an explicit id is no automatic matching"
    );
}

#[test]
fn names_depend_on_the_images_alone() {
    let images = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let name = automatic::name(&images(&["nginx", "redis:1"]));
    assert_eq!(
        name,
        automatic::name(&images(&["redis:1", "docker.io/library/nginx:latest", "nginx"]))
    );
    assert_ne!(name, automatic::name(&images(&["nginx", "redis:2"])));
    let suffix = name.strip_prefix("auto-create-for-").unwrap();
    assert_eq!(suffix.len(), 20);
    assert!(
        suffix
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    );
}

#[test]
fn the_object_is_the_vendors() {
    let storage = ("k8s.aliyun.com/eci-extra-ephemeral-storage", "20Gi");
    let request = |annotations: &[(&str, &str)]| {
        let pod = pod(annotations, &["redis:1", "nginx"]);
        judged(&pod, None, local, &index(&[]))
            .unwrap()
            .for_everything()
            .unwrap()
    };
    let secrets = [SecretRef {
        namespace: "shop".to_owned(),
        name: "login".to_owned(),
    }];
    let object: alibaba::ImageCache = automatic::object(&request(&[(AUTO, "true"), storage]), &secrets).unwrap();
    assert_eq!(object.spec.images, ["nginx:latest", "redis:1"]);
    assert_eq!(
        object.spec.image_cache_size,
        Some(50),
        "7.2 30 GiB and the extra temporary storage"
    );
    assert_eq!(object.spec.image_pull_secrets, Some(vec!["shop:login".to_owned()]));
    assert_eq!(object.spec.retention_days, None);
    assert_eq!(object.metadata.labels.unwrap()["imagecache.dev/automatic"], "true");
    let object: tencent::ImageCache = automatic::object(&request(&[(TENCENT, "auto")]), &secrets).unwrap();
    assert_eq!(object.spec.image_cache_size, 30);
    assert_eq!(object.spec.image_pull_secrets, Some(vec!["shop/login".to_owned()]));
    let bare: tencent::ImageCache = automatic::object(&request(&[(TENCENT, "auto")]), &[]).unwrap();
    assert_eq!(bare.spec.image_pull_secrets, None);
}

const DAY: i64 = 24 * 60 * 60;

fn day(day: i64) -> Timestamp {
    Timestamp::from_second(day * DAY).unwrap()
}

fn existing(name: &str, standing: Standing, created: i64, matched: Option<i64>) -> Existing {
    Existing {
        dialect: "alibaba",
        name: name.to_owned(),
        uid: name.to_owned(),
        created: day(created),
        matched: matched.map(day),
        standing,
    }
}

#[test]
fn unused_caches_go() {
    let lifetime = Lifetime {
        never_used: SignedDuration::from_hours(7 * 24),
        unused: SignedDuration::from_hours(30 * 24),
    };
    for (name, standing, created, matched, now, over) in [
        ("7.2 never used, the sixth day", Standing::Ready, 0, None, 6, false),
        ("7.2 never used, the seventh day", Standing::Ready, 0, None, 7, true),
        ("7.2 used, 29 days ago", Standing::Ready, 0, Some(5), 34, false),
        ("7.2 used, 30 days ago", Standing::Ready, 0, Some(5), 35, true),
        ("used all the time", Standing::Ready, 0, Some(400), 401, false),
        ("failed today", Standing::Broken, 0, None, 0, false),
        ("4 failed a day ago", Standing::Broken, 0, None, 1, true),
        ("still not built after a week", Standing::Building, 0, None, 7, true),
        ("somebody deletes it", Standing::Leaving, 0, None, 100, false),
    ] {
        let cache = existing("a", standing, created, matched);
        assert_eq!(cache.is_over(&lifetime, day(now)).is_some(), over, "{name}");
    }
}

#[test]
fn the_least_recently_used_makes_room() {
    let ready = |name, created, matched| existing(name, Standing::Ready, created, matched);
    let building = existing("building", Standing::Building, 10, None);
    let stuck = existing("stuck", Standing::Building, 8, None);
    let leaving = existing("leaving", Standing::Leaving, 0, None);
    let broken = existing("broken", Standing::Broken, 9, None);
    for (name, caches, limit, expected) in [
        ("there is room", vec![ready("a", 0, None)], 2, Ok(vec![])),
        (
            "7.2 quota full: the least used",
            vec![ready("a", 0, Some(5)), ready("b", 1, Some(3))],
            2,
            Ok(vec!["b"]),
        ),
        (
            "never used counts from its creation",
            vec![ready("a", 4, None), ready("b", 1, Some(3))],
            2,
            Ok(vec!["b"]),
        ),
        (
            "one that failed serves nobody",
            vec![ready("a", 0, None), broken],
            2,
            Ok(vec!["broken"]),
        ),
        (
            "the limit was lowered",
            vec![ready("a", 0, None), ready("b", 1, None)],
            1,
            Ok(vec!["a", "b"]),
        ),
        (
            "one that leaves makes room",
            vec![ready("a", 0, None), leaving],
            2,
            Ok(vec![]),
        ),
        (
            "one that is being built stays",
            vec![building.clone(), ready("a", 5, None)],
            2,
            Ok(vec!["a"]),
        ),
        ("unless it has been for days", vec![stuck], 1, Ok(vec!["stuck"])),
        ("all are being built", vec![building], 1, Err(())),
        ("none is allowed", vec![], 0, Err(())),
    ] {
        let gone = make_room(&caches, limit, day(10)).map_err(drop);
        let names = gone.map(|gone| gone.into_iter().map(|cache| cache.name).collect::<Vec<_>>());
        assert_eq!(
            names,
            expected.map(|names| names.into_iter().map(str::to_owned).collect()),
            "{name}"
        );
    }
}
