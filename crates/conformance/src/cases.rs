//! The cases, each one line of the contract in the docs of `CacheProvider`.

use std::time::Duration;

use imagecache_core::{
    CacheId, CacheKey, CacheSpec, ErrorKind, FAILED_RETENTION, ImageRef, Phase, Platform, Progress, RegistryCredential,
    Retention, Secret,
};

use crate::harness::build;
use crate::{Fault, Harness};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(name: &str, spec: &CacheSpec) -> CacheKey {
    CacheKey::new(name, spec)
}

/// A name is a metric label: one lower-case word, the same after a restart.
pub async fn name_is_one_stable_word(harness: &dyn Harness) {
    let name = harness.provider().name();
    assert!(
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    );
    assert_eq!(harness.restart().await.name(), name);
}

/// An unknown key is `Ok(None)`.
pub async fn unknown_key_is_none(harness: &dyn Harness) {
    let unknown = key("unknown", &harness.spec(0));
    assert_eq!(harness.provider().get(&unknown).await.expect("get"), None);
}

/// `ensure` returns while the build goes on, and tells what is being built.
pub async fn ensure_starts_a_build_and_reports_it(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    let state = harness.provider().ensure(&key, &spec).await.expect("ensure");
    assert!(
        matches!(state.phase, Phase::Pending | Phase::Creating),
        "{:?}",
        state.phase
    );
    assert_eq!(
        (&state.key, &state.images, state.size_gib),
        (&key, &spec.images, spec.size_gib)
    );
    assert!(state.progress < Progress::DONE);
    harness.finish_builds().await;
    assert_eq!(harness.builds_started(), 1);
}

/// The same key never starts a second build: not while building, not when Ready.
pub async fn ensure_again_starts_no_second_build(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    for _ in 0..3 {
        harness
            .provider()
            .ensure(&key, &spec)
            .await
            .expect("ensure while building");
    }
    harness.finish_builds().await;
    let state = harness.provider().ensure(&key, &spec).await.expect("ensure when ready");
    assert_eq!(state.phase, Phase::Ready);
    assert_eq!(harness.builds_started(), 1);
}

/// Neither do many callers at once.
pub async fn concurrent_ensures_start_one_build(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    let provider = harness.provider();
    let states = futures::future::join_all((0..8).map(|_| provider.ensure(&key, &spec))).await;
    let ids: Vec<_> = states.into_iter().map(|state| state.expect("ensure").id).collect();
    assert!(ids.windows(2).all(|pair| pair.first() == pair.last()), "{ids:?}");
    harness.finish_builds().await;
    assert_eq!(harness.builds_started(), 1);
    assert_eq!(provider.list().await.expect("list").len(), 1);
}

/// Ready means all of it: 100 %, no failure, the images that were asked for.
pub async fn finished_build_is_ready_and_complete(harness: &dyn Harness) {
    let mut spec = harness.spec(0);
    spec.images.push(harness.image(1));
    let key = key("two images", &spec);
    assert_eq!(build(harness, &key, &spec).await, Phase::Ready);
    let state = harness.provider().get(&key).await.expect("get").expect("exists");
    assert_eq!(state.progress, Progress::DONE);
    assert_eq!(state.images, spec.images);
    assert!(state.updated_at >= state.created_at);
    assert!(state.resolved.is_empty() || state.resolved.len() == spec.images.len());
}

/// The id is of the vendors' form and the same from the first answer to the last.
pub async fn id_stays_the_same(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    let first = harness.provider().ensure(&key, &spec).await.expect("ensure").id;
    assert!(first.as_str().starts_with("imc-"));
    harness.finish_builds().await;
    assert_eq!(
        harness.provider().get(&key).await.expect("get").expect("exists").id,
        first
    );
    assert_eq!(
        harness
            .restart()
            .await
            .get(&key)
            .await
            .expect("get")
            .expect("exists")
            .id,
        first
    );
}

/// A failed build says why, once and for all: only another key builds again.
pub async fn failed_build_is_reported_and_not_rebuilt(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    harness.inject(Fault::ImageMissing);
    let Phase::Failed(failure) = build(harness, &key, &spec).await else {
        panic!("the build must fail")
    };
    assert!(
        !failure.message.is_empty() && !failure.kind.is_transient(),
        "{failure:?}"
    );
    let started = harness.builds_started();
    let again = harness.provider().ensure(&key, &spec).await.expect("ensure");
    assert!(matches!(again.phase, Phase::Failed(_)), "{:?}", again.phase);
    harness.finish_builds().await;
    assert_eq!(harness.builds_started(), started);
}

/// A stalled build goes on with `ensure`.
pub async fn stalled_build_resumes(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    harness.inject(Fault::Outage);
    let Phase::Stalled(failure) = build(harness, &key, &spec).await else {
        panic!("the build must stall")
    };
    assert!(!failure.message.is_empty(), "{failure:?}");
    assert_eq!(build(harness, &key, &spec).await, Phase::Ready);
}

/// A failed cache is kept for a day so that people can read why, and then goes.
pub async fn failed_cache_expires_after_a_day(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    harness.inject(Fault::ImageMissing);
    assert!(matches!(build(harness, &key, &spec).await, Phase::Failed(_)));
    let state = harness.provider().get(&key).await.expect("get").expect("exists");
    assert!(state.expires_at.is_some(), "a failed cache says when it goes");
    harness.advance(FAILED_RETENTION - Duration::from_secs(60));
    assert!(
        harness.provider().get(&key).await.expect("get").is_some(),
        "kept for a day"
    );
    harness.advance(Duration::from_secs(120));
    assert_eq!(
        harness.provider().get(&key).await.expect("get"),
        None,
        "gone after a day"
    );
    assert_eq!(harness.provider().list().await.expect("list"), []);
}

/// Without a retention nothing expires.
pub async fn caches_never_expire_by_default(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    assert_eq!(build(harness, &key, &spec).await, Phase::Ready);
    harness.advance(DAY * 3650);
    let state = harness.provider().get(&key).await.expect("get").expect("still there");
    assert_eq!((state.phase, state.expires_at), (Phase::Ready, None));
}

/// With a retention the cache goes when its days are over, not before.
pub async fn retention_removes_the_cache(harness: &dyn Harness) {
    let spec = CacheSpec {
        retention: Retention::Days(7),
        ..harness.spec(0)
    };
    let key = key("one", &spec);
    assert_eq!(build(harness, &key, &spec).await, Phase::Ready);
    harness.advance(DAY * 7 - Duration::from_secs(3600));
    assert!(harness.provider().get(&key).await.expect("get").is_some());
    harness.advance(Duration::from_secs(7200));
    assert_eq!(harness.provider().get(&key).await.expect("get"), None);
    assert_eq!(harness.provider().list().await.expect("list"), []);
}

/// Removing what is not there is `Ok`, also twice.
pub async fn deleting_what_is_not_there_is_fine(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    harness.provider().delete(&key).await.expect("delete of an unknown key");
    build(harness, &key, &spec).await;
    harness.provider().delete(&key).await.expect("delete");
    harness.provider().delete(&key).await.expect("delete again");
    assert_eq!(harness.provider().get(&key).await.expect("get"), None);
}

/// A running build ends with its cache, and does not come back when it would have finished.
pub async fn deleting_a_running_build_ends_it(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    harness.provider().ensure(&key, &spec).await.expect("ensure");
    harness.provider().delete(&key).await.expect("delete");
    assert_eq!(harness.provider().get(&key).await.expect("get"), None);
    harness.finish_builds().await;
    assert_eq!(harness.provider().get(&key).await.expect("get"), None);
    assert_eq!(harness.provider().list().await.expect("list"), []);
}

/// Other caches keep everything, also what they share with the deleted one.
pub async fn deleting_leaves_other_caches_alone(harness: &dyn Harness) {
    let (first, second) = (harness.spec(0), harness.spec(0));
    let (gone, kept) = (key("gone", &first), key("kept", &second));
    assert_eq!(build(harness, &gone, &first).await, Phase::Ready);
    assert_eq!(build(harness, &kept, &second).await, Phase::Ready);
    let before = harness.provider().get(&kept).await.expect("get");
    harness.provider().delete(&gone).await.expect("delete");
    assert_eq!(harness.provider().get(&kept).await.expect("get"), before);
}

/// After a delete the same key starts afresh.
pub async fn deleted_cache_can_be_made_again(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let key = key("one", &spec);
    assert_eq!(build(harness, &key, &spec).await, Phase::Ready);
    harness.provider().delete(&key).await.expect("delete");
    assert_eq!(build(harness, &key, &spec).await, Phase::Ready);
}

/// One `list` tells what many `get`s would.
pub async fn list_agrees_with_get(harness: &dyn Harness) {
    let provider = harness.provider();
    assert_eq!(provider.list().await.expect("list"), []);
    let keys: Vec<CacheKey> = (0..3).map(|n| key(&format!("cache {n}"), &harness.spec(n))).collect();
    for (n, key) in keys.iter().enumerate() {
        build(harness, key, &harness.spec(n)).await;
    }
    let mut listed = provider.list().await.expect("list");
    assert_eq!(listed.len(), keys.len());
    for key in &keys {
        let single = provider.get(key).await.expect("get").expect("exists");
        let position = listed.iter().position(|state| &state.key == key).expect("listed");
        assert_eq!(listed.swap_remove(position), single);
    }
}

/// What can never work is refused at once and leaves nothing behind.
pub async fn invalid_spec_is_refused_and_creates_nothing(harness: &dyn Harness) {
    let provider = harness.provider();
    for (name, spec) in [
        ("no images", CacheSpec::new(Vec::new())),
        (
            "too many images",
            CacheSpec::new(vec![harness.image(0); imagecache_core::MAX_IMAGES + 1]),
        ),
        (
            "no size",
            CacheSpec {
                size_gib: 0,
                ..harness.spec(0)
            },
        ),
        (
            "too large",
            CacheSpec {
                size_gib: u32::MAX,
                ..harness.spec(0)
            },
        ),
    ] {
        let key = key(name, &spec);
        let error = provider.ensure(&key, &spec).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{name}: {error}");
        assert_eq!(provider.get(&key).await.expect("get"), None, "{name}");
    }
    assert_eq!(provider.list().await.expect("list"), []);
    assert_eq!(harness.builds_started(), 0);
}

/// A provider that cannot choose a platform says so instead of building the wrong one.
pub async fn platform_is_honoured_or_refused(harness: &dyn Harness) {
    let honoured = harness.provider().capabilities().platform_choice;
    // One that builds for a single platform may take that one; nobody's only platform is s390x.
    let platform = if honoured {
        Platform::host()
    } else {
        Platform::linux("s390x")
    };
    let spec = CacheSpec {
        platform: Some(platform),
        ..harness.spec(0)
    };
    check_capability(harness, &spec, honoured).await;
}

/// The same for plain-HTTP and unchecked registries.
pub async fn registry_transport_is_honoured_or_refused(harness: &dyn Harness) {
    let registry = harness.image(0).registry().to_owned();
    let honoured = harness.provider().capabilities().registry_transport;
    for spec in [
        CacheSpec {
            plain_http_registries: vec![registry.clone()],
            ..harness.spec(0)
        },
        CacheSpec {
            insecure_registries: vec!["unused.example.com".to_owned()],
            ..harness.spec(0)
        },
    ] {
        check_capability(harness, &spec, honoured).await;
    }
}

async fn check_capability(harness: &dyn Harness, spec: &CacheSpec, honoured: bool) {
    let key = key("capability", spec);
    if honoured {
        assert_eq!(build(harness, &key, spec).await, Phase::Ready);
    } else {
        let error = harness
            .provider()
            .ensure(&key, spec)
            .await
            .expect_err("must be refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(harness.provider().get(&key).await.expect("get"), None);
    }
}

/// A crash loses no cache: what was Ready is Ready, what was building is found again and can be finished.
pub async fn states_survive_a_restart(harness: &dyn Harness) {
    let (ready_spec, building_spec) = (harness.spec(0), harness.spec(1));
    let (ready, building) = (key("ready", &ready_spec), key("building", &building_spec));
    assert_eq!(build(harness, &ready, &ready_spec).await, Phase::Ready);
    let before = harness.provider().get(&ready).await.expect("get");
    harness
        .provider()
        .ensure(&building, &building_spec)
        .await
        .expect("ensure");
    let provider = harness.restart().await;
    assert_eq!(provider.get(&ready).await.expect("get"), before);
    assert!(
        provider.get(&building).await.expect("get").is_some(),
        "a build under way is not forgotten"
    );
    assert_eq!(build(harness, &building, &building_spec).await, Phase::Ready);
}

/// Credentials appear in no state and no error, however they are printed.
pub async fn no_secret_is_shown(harness: &dyn Harness) {
    let secrets = harness.secrets();
    assert!(!secrets.is_empty(), "the harness must name the secrets in play");
    let with_secrets = |mut spec: CacheSpec| {
        let server = spec
            .images
            .first()
            .map(ImageRef::registry)
            .unwrap_or_default()
            .to_owned();
        spec.credentials = secrets
            .iter()
            .map(|secret| RegistryCredential {
                server: server.clone(),
                username: "user".to_owned(),
                password: Secret::new(secret.clone()),
            })
            .collect();
        spec
    };
    let mut shown = Vec::new();
    for (name, fault) in [
        ("fails", Some(Fault::ImageMissing)),
        ("stalls", Some(Fault::Outage)),
        ("works", None),
    ] {
        let spec = with_secrets(harness.spec(0));
        let key = key(name, &spec);
        if let Some(fault) = fault {
            harness.inject(fault);
        }
        build(harness, &key, &spec).await;
        shown.push(format!("{:?}", harness.provider().get(&key).await));
        shown.push(format!("{spec:?}"));
    }
    let bad = with_secrets(CacheSpec::new(vec![harness.image(0); imagecache_core::MAX_IMAGES + 1]));
    shown.push(format!(
        "{:?}",
        harness.provider().ensure(&key("bad", &bad), &bad).await
    ));
    shown.push(format!("{:?}", harness.provider()));
    for text in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret is shown in: {text}");
        }
    }
}

/// A pod is told the id of its cache, always in the same words.
pub async fn bind_names_the_cache(harness: &dyn Harness) {
    let spec = harness.spec(0);
    let id = CacheId::for_key(&key("one", &spec));
    let patch = harness.provider().bind(&id);
    assert!(
        !patch.annotations.is_empty() && patch.annotations.values().all(|value| value == id.as_str()),
        "{patch:?}"
    );
    assert_eq!(harness.restart().await.bind(&id), patch);
}
