//! When a cache is made, what it is called, what is in it, and when it goes.

use std::collections::BTreeMap;

use imagecache_core::matching::Decision;
use imagecache_core::{CacheState, ErrorKind, Failure, Phase, PodRequest};
use imagecache_k8s_api::{ImageCacheDialect as _, SecretRef, alibaba, tencent};
use jiff::{SignedDuration, Timestamp};

use super::super::automatic::{self, Existing, Standing, make_room};
use super::super::keeper::is_under_way;
use super::super::settings::Lifetime;
use super::{AUTO, ID, TENCENT, cache, index, judged, local, pod};

/// What the pod has more of temporary storage.
const STORAGE: &str = "k8s.aliyun.com/eci-extra-ephemeral-storage";

fn failure() -> Phase {
    Phase::Failed(Failure {
        kind: ErrorKind::NotFound,
        message: "gone".to_owned(),
    })
}

#[test]
fn when_a_cache_is_made() {
    let pod = |annotations: &[(&str, &str)]| pod(annotations, &["nginx:1", "redis:1"]);
    let auto = pod(&[(AUTO, "true")]);
    let tencent = pod(&[(TENCENT, "auto")]);
    let full = &["nginx:1", "redis:1", "busybox"][..];
    for (name, pod, images, size, phase, there, coming) in [
        ("7.1 a full match", &auto, full, 30, Phase::Ready, true, false),
        (
            "7.1 less than a full match",
            &auto,
            &["nginx:1"],
            30,
            Phase::Ready,
            false,
            false,
        ),
        (
            "7.1 another version",
            &auto,
            &["nginx:2", "redis:1"],
            30,
            Phase::Ready,
            false,
            false,
        ),
        ("being built", &auto, full, 30, Phase::Creating, false, true),
        ("stalled", &auto, full, 30, Phase::Pending, false, true),
        ("failed recently", &auto, full, 30, failure(), false, true),
        (
            "another one is being built",
            &auto,
            &["nginx:1"],
            30,
            Phase::Creating,
            false,
            false,
        ),
        (
            "7.1 same images, less storage than the cache needs",
            &auto,
            full,
            50,
            Phase::Ready,
            false,
            false,
        ),
        (
            "the same while it is being built",
            &auto,
            full,
            50,
            Phase::Creating,
            false,
            false,
        ),
        ("no limit of storage", &tencent, full, 50, Phase::Creating, false, true),
    ] {
        let index = index(&[CacheState {
            size_gib: size,
            ..cache(images, phase)
        }]);
        let request = judged(pod, None, local, &index).unwrap().for_everything().unwrap();
        let decision = index.decide(&request, Timestamp::UNIX_EPOCH);
        let found = matches!(decision, Decision::Use { .. });
        assert_eq!((found, is_under_way(&index, &request)), (there, coming), "{name}");
    }
    let named = judged(&pod(&[(ID, "imc-a")]), None, local, &index(&[])).unwrap();
    assert_eq!(
        named.for_everything(),
        None,
        "5.1 an explicit id is no automatic matching"
    );
}

/// What a pod with these annotations and images needs a cache for.
fn request(annotations: &[(&str, &str)], images: &[&str]) -> PodRequest {
    let judgement = judged(&pod(annotations, images), None, local, &index(&[])).unwrap();
    judgement.for_everything().unwrap()
}

#[test]
fn names_depend_on_the_images_and_the_size() {
    let of = |annotations: &[(&str, &str)], images: &[&str]| automatic::name(&request(annotations, images));
    let auto = (AUTO, "true");
    let name = of(&[auto], &["nginx", "redis:1"]);
    assert_eq!(
        name,
        of(&[auto], &["redis:1", "docker.io/library/nginx:latest", "nginx"])
    );
    assert_eq!(name, of(&[(TENCENT, "auto")], &["nginx", "redis:1"]), "30 GiB as well");
    assert_ne!(name, of(&[auto], &["nginx", "redis:2"]));
    let large = of(&[auto, (STORAGE, "20Gi")], &["nginx", "redis:1"]);
    assert_ne!(name, large, "a pod without extra storage cannot use that one");
    assert_eq!(large, of(&[(STORAGE, "20Gi"), auto], &["redis:1", "nginx"]));
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
    let images = &["redis:1", "nginx"][..];
    let secrets = [SecretRef {
        namespace: "shop".to_owned(),
        name: "login".to_owned(),
    }];
    let none = BTreeMap::new();
    let large = request(&[(AUTO, "true"), (STORAGE, "20Gi")], images);
    let object: alibaba::ImageCache = automatic::object(&large, &none, &secrets).unwrap();
    assert_eq!(object.spec.images, ["nginx:latest", "redis:1"]);
    assert_eq!(
        object.spec.image_cache_size,
        Some(50),
        "7.2 30 GiB and the extra temporary storage"
    );
    assert_eq!(object.spec.image_pull_secrets, Some(vec!["shop:login".to_owned()]));
    assert_eq!(object.spec.retention_days, None);
    assert_eq!(object.metadata.labels.unwrap()["imagecache.dev/automatic"], "true");
    let auto = request(&[(TENCENT, "auto")], images);
    let object: tencent::ImageCache = automatic::object(&auto, &none, &secrets).unwrap();
    assert_eq!(object.spec.image_cache_size, 30);
    assert_eq!(object.spec.image_pull_secrets, Some(vec!["shop/login".to_owned()]));
    let bare: tencent::ImageCache = automatic::object(&auto, &none, &[]).unwrap();
    assert_eq!(bare.spec.image_pull_secrets, None);
}

#[test]
fn the_object_reaches_the_registries_that_the_pod_reaches() {
    const K8S: &str = "k8s.aliyun.com/";
    const EKS: &str = "eks.tke.cloud.tencent.com/";
    let written = [
        (format!("{K8S}plain-http-registry"), "a.example.com:5000"),
        (format!("{K8S}insecure-registry"), " b.example.com "),
        (format!("{K8S}acr-instance-id"), "cri-old"),
        (format!("{K8S}acr-service-arns"), "acs:ram::1:role/a"),
        (format!("{K8S}acr-user-arns"), ""),
        (format!("{K8S}eci-eip-instanceid"), "eip-1"),
        (format!("{EKS}registry-http-endpoint"), "c.example.com"),
        (format!("{EKS}registry-insecure-skip-verify"), "d.example.com"),
        (format!("{EKS}eip-attributes"), "{}"),
        ("team".to_owned(), "a"),
    ];
    let pod: BTreeMap<_, _> = written
        .iter()
        .map(|(name, text)| (name.clone(), (*text).to_owned()))
        .collect();
    let object: alibaba::ImageCache = automatic::object(&request(&[(AUTO, "true")], &["a"]), &pod, &[]).unwrap();
    let spec = object.request().unwrap().spec;
    assert_eq!(spec.plain_http_registries, ["a.example.com:5000"], "5.2");
    assert_eq!(spec.insecure_registries, ["b.example.com"], "5.2");
    let [instance] = spec.options.alibaba.acr_instances.as_slice() else {
        panic!("{:?}", spec.options.alibaba);
    };
    assert_eq!(instance.id, "cri-old", "5.2 the older name");
    assert_eq!(instance.service_arn.as_deref(), Some("acs:ram::1:role/a"));
    assert_eq!(object.metadata.annotations.unwrap().len(), 4, "nothing else is copied");

    let object: tencent::ImageCache = automatic::object(&request(&[(TENCENT, "auto")], &["a"]), &pod, &[]).unwrap();
    let spec = object.request().unwrap().spec;
    assert_eq!(spec.plain_http_registries, ["c.example.com"], "6.2");
    assert_eq!(spec.insecure_registries, ["d.example.com"], "6.2");
    assert_eq!(
        spec.options.tencent.eip_attributes, None,
        "7.2 the pod's address is the pod's"
    );

    let both = [("acr-instance-ids", "cri-new"), ("acr-instance-id", "cri-old")];
    let both = both.map(|(name, text)| (format!("{K8S}{name}"), text.to_owned()));
    let object: alibaba::ImageCache =
        automatic::object(&request(&[(AUTO, "true")], &["a"]), &both.into(), &[]).unwrap();
    assert_eq!(
        object.request().unwrap().spec.options.alibaba.acr_instances[0].id,
        "cri-new",
        "the new name beats the old one"
    );
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
