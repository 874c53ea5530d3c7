//! The same against Docker's own registry program.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use imagecache_fakes::image::Image;
use imagecache_oci::{HostsConfig, Keyring, Puller, SessionOptions};

use crate::support::{one_layer_image, pull, puller, quick_retry, session};

/// A running registry, ended when dropped.
struct Registry {
    child: Child,
    /// Its end would end the registry, which goes on writing.
    _log: BufReader<ChildStderr>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `image` where the registry's file storage looks for `repository:tag`.
fn store(root: &Path, repository: &str, tag: &str, image: &Image) {
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

/// Starts the registry with `tls` (lines of its `http` section) on a port of its own choice, which its log names.
///
/// A port that the test chose could be another program's by the time that the registry asks for it.
fn start(directory: &Path, tls: &str) -> (Registry, u16) {
    let config = directory.join("config.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{tls}",
        directory.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker-registry is installed");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut printed = String::new();
    let port = loop {
        let before = printed.len();
        let read = log.read_line(&mut printed).unwrap();
        assert!(read > 0, "the registry does not start:\n{printed}");
        if let Some((_, rest)) = printed[before..].split_once("listening on 127.0.0.1:") {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            break digits.parse().unwrap();
        }
    };
    (Registry { child, _log: log }, port)
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output();
    let output = output.expect("openssl is installed");
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "needs docker-registry"]
async fn dockers_own_registry() {
    let directory = tempfile::tempdir().unwrap();
    let image = one_layer_image();
    store(directory.path(), "a/b", "1", &image);
    let (_registry, port) = start(directory.path(), "");
    assert_eq!(
        pull(&session(), &format!("127.0.0.1:{port}/a/b:1")).await.unwrap(),
        image.layers[0].tar
    );
}

#[tokio::test]
#[ignore = "needs docker-registry and openssl"]
async fn https_with_a_private_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let image = one_layer_image();
    store(path, "a/b", "1", &image);
    std::fs::write(path.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
    );
    openssl(
        path,
        "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf",
    );
    openssl(
        path,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile san",
    );
    let tls = format!(
        "  tls:\n    certificate: {0}/leaf.pem\n    key: {0}/leaf.key\n",
        path.display()
    );
    let (_registry, port) = start(path, &tls);
    let reference = format!("127.0.0.1:{port}/a/b:1");
    let ca = format!("ca = [\"{}/ca.pem\"]", path.display());
    for (name, settings, fine) in [
        ("ca", ca.as_str(), true),
        ("skip", "skip_verify = true", true),
        ("unknown", "plain_http = false", false),
    ] {
        let config = toml::from_str::<HostsConfig>(&format!("[host.\"127.0.0.1:{port}\"]\n{settings}")).unwrap();
        let session = Puller::new(config, Keyring::default())
            .with_retry(quick_retry())
            .session(SessionOptions::default());
        match pull(&session, &reference).await {
            Ok(bytes) => assert!(fine && bytes == image.layers[0].tar, "{name}"),
            Err(error) => assert!(!fine && error.message().contains("not trusted"), "{name}: {error}"),
        }
    }
    let insecure = vec![format!("127.0.0.1:{port}")];
    let options = SessionOptions {
        insecure_registries: insecure,
        ..SessionOptions::default()
    };
    assert_eq!(
        pull(&puller().session(options), &reference).await.unwrap(),
        image.layers[0].tar,
        "insecure"
    );
}
