//! The same against Docker's own registry program.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imagecache_fakes::image::Image;

use crate::support::{one_layer_image, pull, session};

/// A running registry, ended when dropped.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes `image` where the registry's file storage looks for `repository:tag`.
fn store(root: &std::path::Path, repository: &str, tag: &str, image: &Image) {
    let base = root.join("docker/registry/v2");
    let write = |path: std::path::PathBuf, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let here = base.join("repositories").join(repository);
    for blob in image.blobs().chain([&image.manifest]) {
        let hex = hex(&blob.digest);
        write(
            base.join("blobs/sha256").join(&hex[..2]).join(&hex).join("data"),
            &blob.bytes,
        );
        write(
            here.join("_layers/sha256").join(&hex).join("link"),
            blob.digest.as_bytes(),
        );
    }
    let manifest = &image.manifest.digest;
    let revisions = here
        .join("_manifests/revisions/sha256")
        .join(hex(manifest))
        .join("link");
    write(revisions, manifest.as_bytes());
    let tag = here.join("_manifests/tags").join(tag);
    write(tag.join("current/link"), manifest.as_bytes());
    write(
        tag.join("index/sha256").join(hex(manifest)).join("link"),
        manifest.as_bytes(),
    );
}

#[tokio::test]
#[ignore = "needs docker-registry"]
async fn dockers_own_registry() {
    let directory = tempfile::tempdir().unwrap();
    let image = one_layer_image();
    store(directory.path(), "a/b", "1", &image);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = directory.path().join("config.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        directory.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is installed");
    let _registry = Registry(child);
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < deadline, "the registry does not start");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        pull(&session(), &format!("127.0.0.1:{port}/a/b:1")).await.unwrap(),
        image.layers[0].tar
    );
}
