//! Every kind of image that is served honestly is read right.

use imagecache_core::ErrorKind;
use imagecache_fakes::image::{Blob, Compression, Format, Image, OCI_MANIFEST};
use imagecache_fakes::registry::FakeRegistry;
use imagecache_oci::{Compression as Read, ImageSource, LayerOptions};

use crate::support::{amd64, layer, one_layer_image, pull, read_layer, read_with, resolve, session};

#[tokio::test]
async fn all_formats_and_compressions() {
    let registry = FakeRegistry::start().await.unwrap();
    for format in [Format::Oci, Format::Docker] {
        let layers = [Compression::Gzip, Compression::Zstd, Compression::None].map(|c| layer(c as u64 + 1, c));
        let image = Image::of("linux/amd64", format, layers.to_vec());
        let reference = registry.push("a/b", "1", &image);
        let session = session();
        let resolved = resolve(&session, &reference).await.unwrap();
        assert_eq!(resolved.digest().to_string(), image.manifest.digest, "{format:?}");
        assert_eq!(resolved.config.bytes, image.config.bytes, "{format:?}");
        let kinds: Vec<_> = resolved.layers.iter().map(|layer| layer.compression).collect();
        assert_eq!(kinds, [Read::Gzip, Read::Zstd, Read::None], "{format:?}");
        for (index, layer) in image.layers.iter().enumerate() {
            assert_eq!(
                read_layer(&session, &resolved, index).await.unwrap(),
                layer.tar,
                "{format:?} {index}"
            );
        }
    }
}

#[tokio::test]
async fn media_types_that_lie_about_compression() {
    let registry = FakeRegistry::start().await.unwrap();
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let plain = "application/vnd.oci.image.layer.v1.tar";
    for (name, compression, said) in [
        ("zstd as gzip", Compression::Zstd, gzip),
        ("plain as gzip", Compression::None, gzip),
        ("gzip as plain", Compression::Gzip, plain),
    ] {
        let image = Image::new(vec![layer(1, compression).with_media_type(said)]);
        let reference = registry.push("a", "1", &image);
        assert_eq!(
            pull(&session(), &reference).await.unwrap(),
            image.layers[0].tar,
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_index_gives_the_platforms_image() {
    let registry = FakeRegistry::start().await.unwrap();
    let images = ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"].map(|platform| {
        Image::of(
            platform,
            Format::Oci,
            vec![layer(platform.len() as u64, Compression::Gzip)],
        )
    });
    let reference = registry.push_index("a", "1", &images.each_ref());
    for image in &images {
        let source = reference.parse::<ImageSource>().unwrap();
        let resolved = session()
            .resolve(&source, &image.platform.parse().unwrap())
            .await
            .unwrap();
        assert_eq!(
            resolved.manifest.digest.to_string(),
            image.manifest.digest,
            "{}",
            image.platform
        );
        assert_eq!(resolved.digest(), &resolved.index.as_ref().unwrap().digest);
    }
    let source = reference.parse::<ImageSource>().unwrap();
    let error = session()
        .resolve(&source, &"linux/s390x".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .message()
            .ends_with("it has: linux/amd64, linux/arm/v7, linux/arm64/v8"),
        "{error}"
    );
}

#[tokio::test]
async fn a_single_image_of_another_platform_is_refused() {
    let registry = FakeRegistry::start().await.unwrap();
    let image = Image::of("linux/arm64", Format::Oci, vec![layer(1, Compression::Gzip)]);
    let error = resolve(&session(), &registry.push("a", "1", &image)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains("linux/amd64") && error.message().contains("linux/arm64"),
        "{error}"
    );
}

#[tokio::test]
async fn a_digest_pins_the_image() {
    let registry = FakeRegistry::start().await.unwrap();
    let (old, new) = (one_layer_image(), Image::new(vec![layer(2, Compression::Gzip)]));
    registry.push("a", "1", &old);
    registry.push("a", "1", &new);
    let reference = format!("{}/a:1@{}", registry.host(), old.manifest.digest);
    assert_eq!(pull(&session(), &reference).await.unwrap(), old.layers[0].tar);
}

#[tokio::test]
async fn layers_are_asked_for_once() {
    let registry = FakeRegistry::start().await.unwrap();
    let image = Image::new(vec![layer(1, Compression::Gzip), layer(2, Compression::Gzip)]);
    let session = session();
    let resolved = resolve(&session, &registry.push("a", "1", &image)).await.unwrap();
    for index in 0..2 {
        read_layer(&session, &resolved, index).await.unwrap();
    }
    for layer in &image.layers {
        assert_eq!(registry.count(&layer.blob.digest), 1);
    }
    assert_eq!(registry.count("/manifests/"), 1);
}

#[tokio::test]
async fn what_is_no_image_is_refused_by_name() {
    let registry = FakeRegistry::start().await.unwrap();
    let long = "x".repeat(5 * 1024 * 1024);
    for (name, document, kind, word) in [
        (
            "malformed",
            "{\"schemaVersion\":2,",
            ErrorKind::Internal,
            "not a manifest",
        ),
        (
            "schema 1",
            "{\"schemaVersion\":1,\"fsLayers\":[]}",
            ErrorKind::Unsupported,
            "schema 1",
        ),
        ("huge", long.as_str(), ErrorKind::Internal, "larger than"),
        (
            "artifact",
            "{\"schemaVersion\":2,\"blobs\":[]}",
            ErrorKind::Unsupported,
            "not a container image",
        ),
    ] {
        let reference = registry.push_manifest("a", "1", &Blob::new(document.to_owned(), OCI_MANIFEST));
        let error = resolve(&session(), &reference).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(
            error.message().contains(word) && error.message().contains("/a:1"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn encrypted_and_foreign_layers_are_refused_by_name() {
    let registry = FakeRegistry::start().await.unwrap();
    for (media_type, word) in [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "not distributable",
        ),
    ] {
        let image = Image::new(vec![
            layer(1, Compression::Gzip),
            layer(2, Compression::Gzip).with_media_type(media_type),
        ]);
        let error = resolve(&session(), &registry.push("a", "1", &image)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{media_type}");
        assert!(
            error.message().contains(word) && error.message().contains("layer 2"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_bomb_stops_at_the_limit() {
    let registry = FakeRegistry::start().await.unwrap();
    let zeros = imagecache_fakes::image::Layer::from_tar(vec![0; 50_000_000], Compression::Gzip);
    let session = session();
    let resolved = resolve(&session, &registry.push("a", "1", &Image::new(vec![zeros])))
        .await
        .unwrap();
    let options = LayerOptions {
        max_uncompressed: Some(1_000_000),
        counters: Some(std::sync::Arc::default()),
    };
    let counters = options.counters.clone().unwrap();
    let error = read_with(&session, &resolved, 0, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(counters.uncompressed() <= 1_000_000, "{counters:?}");
}

#[tokio::test]
async fn finish_checks_what_was_not_read() {
    let registry = FakeRegistry::start().await.unwrap();
    let mut wrong = layer(1, Compression::Gzip);
    wrong.diff_id = layer(2, Compression::Gzip).diff_id;
    let right = one_layer_image();
    for (name, image, fine) in [
        ("right", right, true),
        ("wrong diff id", Image::new(vec![wrong]), false),
    ] {
        let session = session();
        let reference: ImageSource = registry.push("a", "1", &image).parse().unwrap();
        let resolved = session.resolve(&reference, &amd64()).await.unwrap();
        let stream = session.open_layer(&resolved, 0, LayerOptions::default()).unwrap();
        let finished = tokio::task::spawn_blocking(move || stream.finish()).await.unwrap();
        match finished {
            Ok(length) => assert!(fine && length == image.layers[0].tar.len() as u64, "{name}"),
            Err(error) => assert!(!fine && imagecache_oci::is_wrong_digest(&error), "{name}: {error}"),
        }
    }
}
