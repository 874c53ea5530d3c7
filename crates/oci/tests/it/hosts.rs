//! Mirrors, rewrites, and whom to trust with what.

use imagecache_core::ErrorKind;
use imagecache_fakes::registry::{FakeRegistry, Fault, FaultKind};
use imagecache_oci::{HostsConfig, Keyring, Puller, SessionOptions};

use crate::support::{one_layer_image, pull, quick_retry, read_layer, resolve, session};

fn puller(config: &str) -> Puller {
    Puller::new(toml::from_str::<HostsConfig>(config).unwrap(), Keyring::default()).with_retry(quick_retry())
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_the_registry_when_it_fails() {
    let (registry, mirror) = (
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
    );
    let image = one_layer_image();
    let reference = registry.push("a", "1", &image);
    let config = format!(
        "[host.\"{}\"]\nmirrors = [{{ url = \"{}\" }}]",
        registry.host(),
        mirror.url()
    );
    let session = puller(&config).session(SessionOptions::default());
    assert_eq!(pull(&session, &reference).await.unwrap(), image.layers[0].tar);
    assert!(
        mirror
            .requests()
            .iter()
            .all(|request| request.status == 404 && request.query.starts_with("ns=127.0.0.1"))
    );
    let before = registry.requests().len();
    mirror.push("a", "1", &image);
    assert_eq!(pull(&session, &reference).await.unwrap(), image.layers[0].tar);
    assert_eq!(registry.requests().len(), before);
}

#[tokio::test]
async fn a_mirror_that_breaks_in_the_middle_is_continued_from_the_registry() {
    let (registry, mirror) = (
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
    );
    let image = one_layer_image();
    let digest = &image.layers[0].blob.digest;
    let reference = registry.push("a", "1", &image);
    mirror.push("a", "1", &image);
    let config = format!(
        "[host.\"{}\"]\nmirrors = [{{ url = \"{}\" }}]",
        registry.host(),
        mirror.url()
    );
    let session = puller(&config).session(SessionOptions::default());
    mirror.inject(Fault::on(digest, FaultKind::TruncateAt(300_000)).times(1));
    mirror.inject(Fault::on(digest, FaultKind::Status(404)));
    assert_eq!(pull(&session, &reference).await.unwrap(), image.layers[0].tar);
    assert!(
        registry
            .requests()
            .iter()
            .any(|request| request.path.contains(digest.as_str()) && request.range.is_some())
    );
}

#[tokio::test]
async fn a_mirror_that_lies_can_be_left_out() {
    let (registry, mirror) = (
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
    );
    let image = one_layer_image();
    let reference = registry.push("a", "1", &image);
    mirror.push("a", "1", &image);
    mirror.inject(Fault::on(&image.layers[0].blob.digest, FaultKind::WrongBytes));
    let config = format!(
        "[host.\"{}\"]\nmirrors = [{{ url = \"{}\" }}]",
        registry.host(),
        mirror.url()
    );
    let session = puller(&config).session(SessionOptions::default());
    let resolved = resolve(&session, &reference).await.unwrap();
    let error = read_layer(&session, &resolved, 0).await.unwrap_err();
    assert!(imagecache_oci::is_wrong_digest(&error), "{error}");
    assert_eq!(
        read_layer(&session, &resolved.without_mirrors(), 0).await.unwrap(),
        image.layers[0].tar
    );
}

#[tokio::test]
async fn a_pull_only_mirror_does_not_say_what_a_tag_is() {
    let (registry, mirror) = (
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
    );
    let image = one_layer_image();
    let reference = registry.push("a", "1", &image);
    mirror.push("a", "1", &image);
    let config = format!(
        "[host.\"{}\"]\nmirrors = [{{ url = \"{}\", capabilities = [\"pull\"] }}]",
        registry.host(),
        mirror.url()
    );
    pull(&puller(&config).session(SessionOptions::default()), &reference)
        .await
        .unwrap();
    assert_eq!(mirror.count("/manifests/"), 0);
    assert_eq!(registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn containerds_hosts_toml_and_rewrites() {
    let (registry, mirror) = (
        FakeRegistry::start().await.unwrap(),
        FakeRegistry::start().await.unwrap(),
    );
    let image = one_layer_image();
    mirror.push("a", "1", &image);
    let directory = tempfile::tempdir().unwrap();
    let host = registry.host().replace(':', "_") + "_";
    std::fs::create_dir(directory.path().join(&host)).unwrap();
    let text = format!("[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]", mirror.url());
    std::fs::write(directory.path().join(host).join("hosts.toml"), text).unwrap();
    let config = format!("containerd_dir = \"{}\"", directory.path().display());
    let session = puller(&config).session(SessionOptions::default());
    assert_eq!(
        pull(&session, &format!("{}/a:1", registry.host())).await.unwrap(),
        image.layers[0].tar
    );
    assert!(registry.requests().is_empty());

    let config = format!(
        "[host.\"r.example.com\"]\nserver = \"{}\"\nrewrites = [{{ prefix = \"team\", replacement = \"\" }}]",
        mirror.url()
    );
    let session = puller(&config).session(SessionOptions::default());
    assert_eq!(
        pull(&session, "r.example.com/team/a:1").await.unwrap(),
        image.layers[0].tar
    );
}

#[tokio::test]
async fn https_to_a_plain_registry_says_so() {
    let registry = FakeRegistry::start().await.unwrap();
    let reference = registry.push("a", "1", &one_layer_image());
    let config = format!("[host.\"{}\"]\nplain_http = false", registry.host());
    let error = resolve(&puller(&config).session(SessionOptions::default()), &reference)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("does not speak HTTPS"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_not_there() {
    let registry = FakeRegistry::start().await.unwrap();
    let reference = format!("{}/a:1", registry.host());
    drop(registry);
    let error = resolve(&session(), &reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("no connection"), "{error}");
}
