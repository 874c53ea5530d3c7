//! Images from OCI layouts and docker-archives.

use imagecache_core::ErrorKind;
use imagecache_fakes::image::{Compression, Format, Image, write_layout};

use crate::support::{layer, one_layer_image, pull, resolve, session};

#[tokio::test]
async fn an_oci_layout() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (one_layer_image(), Image::new(vec![layer(2, Compression::Zstd)]));
    write_layout(directory.path(), &[("1", &one), ("2", &two)]).unwrap();
    let source = format!("oci:{}", directory.path().display());
    assert_eq!(
        pull(&session(), &format!("{source}:1")).await.unwrap(),
        one.layers[0].tar
    );
    assert_eq!(
        pull(&session(), &format!("{source}:2")).await.unwrap(),
        two.layers[0].tar
    );
    let error = resolve(&session(), &format!("{source}:3")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = resolve(&session(), &source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
}

#[tokio::test]
async fn a_damaged_layout_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let image = one_layer_image();
    write_layout(directory.path(), &[("1", &image)]).unwrap();
    let source = format!("oci:{}", directory.path().display());
    for (name, blob) in [
        ("layer", &image.layers[0].blob),
        ("config", &image.config),
        ("manifest", &image.manifest),
    ] {
        let path = directory.path().join("blobs").join(blob.digest.replace(':', "/"));
        let mut bytes = blob.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = pull(&session(), &source).await.unwrap_err();
        assert!(imagecache_oci::is_wrong_digest(&error), "{name}: {error}");
        std::fs::write(&path, &blob.bytes).unwrap();
    }
    assert_eq!(pull(&session(), &source).await.unwrap(), image.layers[0].tar);
}

#[tokio::test]
async fn a_docker_archive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("saved.tar");
    let image = Image::of("linux/amd64", Format::Docker, vec![layer(1, Compression::Gzip)]);
    std::fs::write(&path, image.docker_archive("team/app:1")).unwrap();
    let source = format!("docker-archive:{}", path.display());
    for source in [source.clone(), format!("{source}:team/app:1")] {
        let resolved = resolve(&session(), &source).await.unwrap();
        assert_eq!(resolved.reference.to_string(), "docker.io/team/app:1");
        assert_eq!(
            pull(&session(), &source).await.unwrap(),
            image.layers[0].tar,
            "{source}"
        );
    }
    let error = resolve(&session(), &format!("{source}:other:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = resolve(&session(), "docker-archive:/does/not/exist").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
