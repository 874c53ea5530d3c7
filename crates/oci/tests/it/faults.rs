//! Whatever a registry does wrong: the right bytes in the end, or a clear error. Never wrong bytes, never a hang.

use std::time::{Duration, Instant};

use bytes::Bytes;
use imagecache_core::ErrorKind;
use imagecache_fakes::registry::{Auth, FakeRegistry, Fault, FaultKind};
use imagecache_oci::{LayerOptions, is_wrong_digest};

use crate::support::{one_layer_image, pull, read_layer, resolve, session};

#[tokio::test]
async fn transient_faults_heal_and_nothing_is_sent_twice() {
    let image = one_layer_image();
    let layer = &image.layers[0];
    let cut = layer.blob.bytes.len() / 2;
    for (name, path, fault) in [
        (
            "500 on manifest",
            "/manifests/",
            Fault::on("/manifests/", FaultKind::Status(500)).times(2),
        ),
        (
            "503 on blob",
            "/blobs/",
            Fault::on("/blobs/", FaultKind::Status(503)).times(1),
        ),
        (
            "429 at once",
            "/blobs/",
            Fault::on("/blobs/", FaultKind::RateLimit("0".to_owned())).times(1),
        ),
        (
            "truncated",
            &layer.blob.digest,
            Fault::on(&layer.blob.digest, FaultKind::TruncateAt(cut)).times(1),
        ),
        (
            "stalled",
            &layer.blob.digest,
            Fault::on(&layer.blob.digest, FaultKind::StallAt(cut)).times(1),
        ),
        (
            "no answer",
            &layer.blob.digest,
            Fault::on(&layer.blob.digest, FaultKind::NoAnswer).times(1),
        ),
        (
            "cut manifest",
            "/manifests/",
            Fault::on("/manifests/", FaultKind::TruncateAt(20)).times(1),
        ),
        (
            "cut config",
            &image.config.digest,
            Fault::on(&image.config.digest, FaultKind::TruncateAt(20)).times(1),
        ),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        let reference = registry.push("a", "1", &image);
        registry.inject(fault);
        assert_eq!(pull(&session(), &reference).await.unwrap(), layer.tar, "{name}");
        assert!(registry.count(path) > 1, "{name}: the fault did not happen");
    }
}

#[tokio::test]
async fn a_broken_download_resumes_where_it_stopped() {
    let registry = FakeRegistry::start().await.unwrap();
    let image = one_layer_image();
    let digest = &image.layers[0].blob.digest;
    let reference = registry.push("a", "1", &image);
    registry.inject(Fault::on(digest, FaultKind::TruncateAt(300_000)).times(1));
    assert_eq!(pull(&session(), &reference).await.unwrap(), image.layers[0].tar);
    let ranges: Vec<_> = registry
        .requests()
        .into_iter()
        .filter(|r| r.path.contains(digest.as_str()))
        .map(|r| r.range)
        .collect();
    let [None, Some(range)] = &ranges[..] else {
        panic!("{ranges:?}")
    };
    let from: usize = range
        .trim_start_matches("bytes=")
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!((1..=300_000).contains(&from), "{range}");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_skipped_through() {
    let registry = FakeRegistry::start().await.unwrap();
    let image = one_layer_image();
    let digest = &image.layers[0].blob.digest;
    let reference = registry.push("a", "1", &image);
    registry.inject(Fault::on(digest, FaultKind::TruncateAt(300_000)).times(1));
    registry.inject(Fault::on(digest, FaultKind::IgnoreRange));
    assert_eq!(pull(&session(), &reference).await.unwrap(), image.layers[0].tar);
}

#[tokio::test]
async fn lasting_faults_end_with_a_clear_error() {
    let image = one_layer_image();
    let digest = &image.layers[0].blob.digest;
    let endless = FaultKind::Endless(1 << 30);
    let html = FaultKind::Replace("text/html".to_owned(), Bytes::from_static(b"<html>login</html>"));
    for (name, fault, kind, word) in [
        (
            "no image",
            Fault::on("/manifests/", FaultKind::Status(404)),
            ErrorKind::NotFound,
            "does not exist",
        ),
        (
            "forbidden",
            Fault::on("/manifests/", FaultKind::Status(403)),
            ErrorKind::PermissionDenied,
            "does not allow",
        ),
        (
            "down",
            Fault::on("/manifests/", FaultKind::Status(500)),
            ErrorKind::Unavailable,
            "500",
        ),
        (
            "limited",
            Fault::on("/manifests/", FaultKind::RateLimit("3600".into())),
            ErrorKind::RateLimited,
            "limits",
        ),
        (
            "mute",
            Fault::on("/manifests/", FaultKind::NoAnswer),
            ErrorKind::Unavailable,
            "does not answer",
        ),
        (
            "circles",
            Fault::on("/manifests/", FaultKind::RedirectLoop),
            ErrorKind::Unavailable,
            "in circles",
        ),
        (
            "endless manifest",
            Fault::on("/manifests/", endless.clone()),
            ErrorKind::Internal,
            "larger than",
        ),
        (
            "html manifest",
            Fault::on("/manifests/", html.clone()),
            ErrorKind::Internal,
            "not a manifest",
        ),
        (
            "wrong header",
            Fault::on("/manifests/", FaultKind::WrongDigestHeader),
            ErrorKind::Internal,
            "wrong digest",
        ),
        (
            "wrong config",
            Fault::on(&image.config.digest, FaultKind::WrongBytes),
            ErrorKind::Internal,
            "wrong digest",
        ),
        (
            "endless config",
            Fault::on(&image.config.digest, endless.clone()),
            ErrorKind::Internal,
            "larger than",
        ),
        (
            "no layer",
            Fault::on(digest, FaultKind::Status(404)),
            ErrorKind::NotFound,
            "layer 1",
        ),
        (
            "cut layer",
            Fault::on(digest, FaultKind::TruncateAt(0)),
            ErrorKind::Unavailable,
            "layer 1",
        ),
        (
            "mute layer",
            Fault::on(digest, FaultKind::StallAt(0)),
            ErrorKind::Unavailable,
            "stalled",
        ),
        (
            "wrong layer",
            Fault::on(digest, FaultKind::WrongBytes),
            ErrorKind::Internal,
            "wrong digest",
        ),
        (
            "endless layer",
            Fault::on(digest, endless),
            ErrorKind::Internal,
            "layer 1",
        ),
        ("html layer", Fault::on(digest, html), ErrorKind::Unavailable, "layer 1"),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        let reference = registry.push("a", "1", &image);
        registry.inject(fault);
        let error = pull(&session(), &reference).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(
            error.message().contains(word) && error.message().contains("/a:1"),
            "{name}: {error}"
        );
        assert!(
            registry.requests().len() < 10,
            "{name}: {} requests",
            registry.requests().len()
        );
    }
}

#[tokio::test]
async fn a_wrong_digest_names_both() {
    let registry = FakeRegistry::start().await.unwrap();
    let image = one_layer_image();
    let digest = &image.layers[0].blob.digest;
    let reference = registry.push("a", "1", &image);
    registry.inject(Fault::on(digest, FaultKind::WrongBytes));
    let error = pull(&session(), &reference).await.unwrap_err();
    assert!(is_wrong_digest(&error));
    assert!(
        error.message().contains(&format!("expected {digest}, got sha256:")),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_mended_is_not_tried_again() {
    let image = one_layer_image();
    for status in [403, 404] {
        let registry = FakeRegistry::start().await.unwrap();
        let reference = registry.push("a", "1", &image);
        registry.inject(Fault::on("/manifests/", FaultKind::Status(status)));
        resolve(&session(), &reference).await.unwrap_err();
        assert_eq!(registry.count("/manifests/"), 1, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_and_reported() {
    let image = one_layer_image();
    let registry = FakeRegistry::start().await.unwrap();
    let reference = registry.push("a", "1", &image);
    registry.inject(Fault::on("/manifests/", FaultKind::RateLimit("1".to_owned())).times(1));
    let start = Instant::now();
    resolve(&session(), &reference).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    registry.inject(Fault::on("/manifests/", FaultKind::RateLimit("7200".to_owned())));
    let error = resolve(&session(), &reference).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7200)));
}

#[tokio::test]
async fn redirects_to_another_host_carry_no_credentials() {
    let image = one_layer_image();
    let registry = FakeRegistry::start_with(Auth::anonymous_token()).await.unwrap();
    let cdn = FakeRegistry::start().await.unwrap();
    let reference = registry.push("a", "1", &image);
    cdn.push("a", "1", &image);
    registry.inject(Fault::on("/blobs/", FaultKind::RedirectTo(cdn.url())));
    assert_eq!(pull(&session(), &reference).await.unwrap(), image.layers[0].tar);
    assert!(
        registry
            .requests()
            .iter()
            .any(|request| request.authorization.is_some())
    );
    assert!(!cdn.requests().is_empty());
    assert!(
        cdn.requests().iter().all(|request| request.authorization.is_none()),
        "{:?}",
        cdn.requests()
    );
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed() {
    let image = one_layer_image();
    let digest = &image.layers[0].blob.digest;
    let registry = FakeRegistry::start_with(Auth::anonymous_token()).await.unwrap();
    let reference = registry.push("a", "1", &image);
    let session = session();
    let resolved = resolve(&session, &reference).await.unwrap();
    registry.inject(Fault::on(digest, FaultKind::TruncateAt(300_000)).times(1));
    registry.inject(Fault::on(digest, FaultKind::ExpireTokens).times(1));
    assert_eq!(read_layer(&session, &resolved, 0).await.unwrap(), image.layers[0].tar);
    assert_eq!(registry.count("/token"), 2);
}

#[tokio::test]
async fn dropping_the_stream_ends_the_download() {
    let image = one_layer_image();
    let digest = image.layers[0].blob.digest.clone();
    let registry = FakeRegistry::start().await.unwrap();
    let session = session();
    let resolved = resolve(&session, &registry.push("a", "1", &image)).await.unwrap();
    registry.inject(Fault::on(&digest, FaultKind::StallAt(10)));
    let stream = session.open_layer(&resolved, 0, LayerOptions::default()).unwrap();
    let counters = std::sync::Arc::downgrade(&stream.counters());
    while registry.count(&digest) == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    // The decoding thread holds the last counters: they go when it does.
    let gone = async {
        while counters.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    assert_eq!(registry.count(&digest), 1);
}
