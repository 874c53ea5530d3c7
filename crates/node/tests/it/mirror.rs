//! The mirror over real sockets: what it gives, what it never gives, and who gets what.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use imagecache_blocks::{
    CacheRecord, DirectoryStore, Durability, ImageRecord, LayerRecord, LayerReference, Part, PartRecord, RecordChange,
    References, SpecRecord, Store as _,
};
use imagecache_core::{CacheId, CacheKey, CacheSpec, CacheState, Digest, ImageRef, Phase, Platform};
use imagecache_fakes::image::{Blob, Compression, Image, LayerBuilder, index};
use imagecache_fakes::registry::{Auth, FakeRegistry, Fault, FaultKind};
use imagecache_node::{Follower, Login, Permission, Snapshotter, Source, Upstream, listen_mirror, serve_mirror};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::until;

const PASSWORD: &str = "hunter2";

/// An image, and an index that names it beside another platform's.
struct Kept {
    image: Image,
    index: Blob,
}

fn kept(seed: u8) -> Kept {
    let layer = LayerBuilder::new()
        .file("f", &[seed; 1000], 0o644)
        .build(Compression::None);
    let image = Image::new(vec![layer]);
    let index = index(&[&image]);
    Kept { image, index }
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

/// Puts a Ready cache of one image into the store, as a provider does.
fn put(store: &DirectoryStore, reference: &str, kept: &Kept, created: i64, edit: impl FnOnce(&mut ImageRecord)) {
    let layer = &kept.image.layers[0];
    let diff_id = digest(&layer.diff_id);
    let mut writer = store.part_writer(&Part::Layer(diff_id.clone())).unwrap();
    // The mirror never looks into it.
    writer.write_all(&layer.tar).unwrap();
    writer
        .publish(|blocks| PartRecord::Layer(LayerRecord::new(diff_id.clone(), blocks)))
        .unwrap();
    for blob in [&kept.image.manifest, &kept.image.config, &kept.index] {
        store.put_blob(&digest(&blob.digest), &blob.bytes).unwrap();
    }
    let mut image = ImageRecord {
        reference: ImageRef::parse(reference).unwrap(),
        media_type: kept.image.manifest.media_type.clone(),
        manifest: digest(&kept.image.manifest.digest),
        manifest_bytes: kept.image.manifest.bytes.len() as u64,
        index: None,
        public: true,
        config: digest(&kept.image.config.digest),
        platform: Platform::linux("amd64"),
        layers: vec![LayerReference {
            diff_id: diff_id.clone(),
            chain_id: diff_id,
            blob: digest(&layer.blob.digest),
            blob_bytes: 1,
        }],
    };
    edit(&mut image);
    let spec = CacheSpec::new(vec![image.reference.clone()]);
    let key = CacheKey::new(&format!("{reference} {created}"), &spec);
    let id = CacheId::for_key(&key);
    let mut state = CacheState::requested(&key, &spec, Timestamp::from_second(created).unwrap());
    state.phase = Phase::Ready;
    let mut record = CacheRecord::new(state, SpecRecord::from(&spec), "build".to_owned());
    record.references = References::of(std::slice::from_ref(&image));
    record.images = vec![image];
    store
        .update_record(&id, |_| {
            (RecordChange::Write(Box::new(record), Durability::Relaxed), ())
        })
        .unwrap();
}

/// Asks the fake registry with the caller's login, as the program does.
struct Registry(Arc<FakeRegistry>);

impl Upstream for Registry {
    fn may_read(&self, image: ImageRef, digest: Digest, login: Login) -> BoxFuture<'static, Permission> {
        let address = self.0.host();
        Box::pin(async move {
            let path = format!("/v2/{}/manifests/{digest}", image.repository());
            let basic = STANDARD.encode(format!("{}:{}", login.username, login.password.expose()));
            match ask(address.parse().unwrap(), "HEAD", &path, Some(&basic)).await.status {
                200 => Permission::Granted,
                401 | 403 | 404 => Permission::Refused,
                _ => Permission::Unknown,
            }
        })
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, basic: Option<&str>) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let login = basic
        .map(|basic| format!("Authorization: Basic {basic}\r\n"))
        .unwrap_or_default();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{login}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: bytes[end + 4..].to_vec(),
        head,
    }
}

/// A mirror over one store.
struct Rig {
    _dirs: (tempfile::TempDir, tempfile::TempDir),
    registry: Arc<FakeRegistry>,
    store: PathBuf,
    address: SocketAddr,
    snapshotter: Arc<Snapshotter>,
}

impl Rig {
    /// `fill` is given the store, and the registry that all images are of.
    async fn start(fill: impl FnOnce(&DirectoryStore, &FakeRegistry)) -> Self {
        let auth = Auth::Basic("u".to_owned(), PASSWORD.to_owned());
        let registry = Arc::new(FakeRegistry::start_with(auth).await.unwrap());
        let (root, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(&DirectoryStore::open(directory.path()).unwrap(), &registry);
        let snapshotter = Arc::new(Snapshotter::open(root.path()).unwrap());
        let sources = vec![Source::Path(directory.path().to_owned())];
        let follower = Follower::start(Arc::clone(&snapshotter), sources).await;
        tokio::spawn(follower.follow(Arc::default(), std::future::pending()));
        let listener = listen_mirror("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Arc::new(Registry(Arc::clone(&registry)));
        tokio::spawn(serve_mirror(
            Arc::clone(&snapshotter),
            listener,
            upstream,
            std::future::pending::<()>(),
        ));
        until("the store to be known", || snapshotter.supply().catalog.size().0 > 0).await;
        Self {
            store: directory.path().to_owned(),
            _dirs: (root, directory),
            registry,
            address,
            snapshotter,
        }
    }

    async fn get(&self, what: &str, login: Option<&str>) -> Answer {
        let path = format!("/v2/{what}?ns={}", self.registry.host().replace(':', "%3A"));
        let basic = login.map(|password| STANDARD.encode(format!("u:{password}")));
        ask(self.address, "GET", &path, basic.as_deref()).await
    }
}

#[tokio::test]
async fn a_public_image_is_given_to_anyone_by_tag_and_by_digest() {
    let (plain, whole) = (kept(1), kept(2));
    let rig = Rig::start(|store, registry| {
        put(store, &format!("{}/a:1", registry.host()), &plain, 1, |_| {});
        put(store, &format!("{}/b/c:1", registry.host()), &whole, 1, |image| {
            image.index = Some(digest(&whole.index.digest));
        });
    })
    .await;
    for (name, path, expected) in [
        ("tag", "a/manifests/1".to_owned(), &plain.image.manifest),
        (
            "manifest",
            format!("a/manifests/{}", plain.image.manifest.digest),
            &plain.image.manifest,
        ),
        (
            "config",
            format!("a/blobs/{}", plain.image.config.digest),
            &plain.image.config,
        ),
        (
            "manifest as blob",
            format!("a/blobs/{}", plain.image.manifest.digest),
            &plain.image.manifest,
        ),
        ("tag of an index", "b/c/manifests/1".to_owned(), &whole.index),
        ("index", format!("b/c/manifests/{}", whole.index.digest), &whole.index),
        (
            "manifest of an index",
            format!("b/c/manifests/{}", whole.image.manifest.digest),
            &whole.image.manifest,
        ),
    ] {
        let answer = rig.get(&path, None).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.body, expected.bytes, "{name}");
        assert_eq!(
            answer.header("docker-content-digest"),
            Some(expected.digest.as_str()),
            "{name}"
        );
        if path.contains("manifests") {
            assert_eq!(
                answer.header("content-type"),
                Some(expected.media_type.as_str()),
                "{name}"
            );
        }
    }
    let head = format!("/v2/a/manifests/1?ns={}", rig.registry.host());
    let answer = ask(rig.address, "HEAD", &head, None).await;
    let length = plain.image.manifest.bytes.len().to_string();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some(length.as_str()))
    );
    assert!(answer.body.is_empty());
    assert_eq!(ask(rig.address, "GET", "/v2/", None).await.status, 200);
    assert!(rig.registry.requests().is_empty(), "the registry was asked");
}

#[tokio::test]
async fn nothing_else_is_given() {
    let (plain, other) = (kept(1), kept(2));
    let rig = Rig::start(|store, registry| {
        put(store, &format!("{}/a:1", registry.host()), &plain, 1, |_| {});
        put(store, &format!("{}/b:1", registry.host()), &other, 1, |_| {});
        put(
            store,
            &format!("{}/a@{}", registry.host(), other.image.manifest.digest),
            &other,
            2,
            |_| {},
        );
    })
    .await;
    for (name, path) in [
        ("a layer", format!("a/blobs/{}", plain.image.layers[0].blob.digest)),
        ("a tag that was not cached", "a/manifests/2".to_owned()),
        (
            "a tag of an image that was cached by digest",
            "a/manifests/latest".to_owned(),
        ),
        (
            "another repository's manifest",
            format!("b/manifests/{}", plain.image.manifest.digest),
        ),
        (
            "another repository's config",
            format!("b/blobs/{}", plain.image.config.digest),
        ),
    ] {
        assert_eq!(rig.get(&path, None).await.status, 404, "{name}");
    }
    for (name, path, status) in [
        ("no registry named", "/v2/a/manifests/1".to_owned(), 404),
        ("another registry", "/v2/a/manifests/1?ns=r.io".to_owned(), 401),
        ("its catalog", format!("/v2/_catalog?ns={}", rig.registry.host()), 404),
        (
            "a file of the store",
            format!("/v2/../index.json?ns={}", rig.registry.host()),
            404,
        ),
    ] {
        assert_eq!(ask(rig.address, "GET", &path, None).await.status, status, "{name}");
    }
    let path = format!("/v2/a/manifests/1?ns={}", rig.registry.host());
    assert_eq!(ask(rig.address, "DELETE", &path, None).await.status, 405);
    // A damaged document counts as not held.
    let hex = plain.image.manifest.digest.strip_prefix("sha256:").unwrap();
    std::fs::write(rig.store.join("blobs/sha256").join(hex), b"{}").unwrap();
    assert_eq!(rig.get("a/manifests/1", None).await.status, 404);
}

#[tokio::test]
async fn a_tag_means_what_was_cached_last() {
    let (old, new) = (kept(1), kept(2));
    for (first, second) in [(&old, &new), (&new, &old)] {
        let rig = Rig::start(|store, registry| {
            let reference = format!("{}/a:1", registry.host());
            put(store, &reference, first, 1, |_| {});
            put(store, &reference, second, 2, |_| {});
        })
        .await;
        assert_eq!(rig.get("a/manifests/1", None).await.body, second.image.manifest.bytes);
    }
}

#[tokio::test]
async fn a_private_image_is_for_whoever_the_registry_gives_it_to() {
    let (private, public) = (kept(1), kept(2));
    let rig = Rig::start(|store, registry| {
        registry.push("a", "1", &private.image);
        put(store, &format!("{}/a:1", registry.host()), &private, 1, |image| {
            image.public = false
        });
        put(store, &format!("{}/b:1", registry.host()), &public, 1, |_| {});
    })
    .await;
    let nobody = rig.get("a/manifests/1", None).await;
    assert_eq!(
        (nobody.status, nobody.header("www-authenticate")),
        (401, Some("Basic realm=\"imagecache\""))
    );
    let missing = rig.get("none/manifests/1", None).await;
    assert_eq!(
        (missing.status, missing.body),
        (401, nobody.body),
        "what is not here looks the same"
    );
    assert!(rig.registry.requests().is_empty(), "nobody is asked about nobody");
    let stranger = rig.get("a/manifests/1", Some("wrong")).await;
    let missing = rig.get("none/manifests/1", Some("wrong")).await;
    assert_eq!(
        (stranger.status, &stranger.body),
        (404, &missing.body),
        "a refusal looks like nothing"
    );
    assert_eq!(
        rig.get("a/manifests/1", Some(PASSWORD)).await.body,
        private.image.manifest.bytes
    );
    let config = format!("a/blobs/{}", private.image.config.digest);
    assert_eq!(rig.get(&config, Some(PASSWORD)).await.body, private.image.config.bytes);
    // The registry is away: who was known stays known, here and nowhere else.
    rig.registry.inject(Fault::on("/manifests/", FaultKind::Status(503)));
    assert_eq!(rig.get(&config, Some(PASSWORD)).await.status, 200);
    assert_eq!(rig.get(&config, Some("wrong")).await.status, 404);
    assert_eq!(rig.get(&config, None).await.status, 401);
    let text = imagecache_node::render_metrics(&rig.snapshotter);
    for line in [
        "imagecache_node_mirror_answers_total{outcome=\"known\"} 3",
        "imagecache_node_mirror_answers_total{outcome=\"refused\"} 2",
        "imagecache_node_held_images 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains(PASSWORD));
}

#[tokio::test]
async fn the_config_of_a_manifest_is_asked_for_by_the_manifest() {
    // The registry knows manifests and never hears of the config: rights are of repositories.
    let private = kept(1);
    let rig = Rig::start(|store, registry| {
        registry.push_manifest("a", "1", &private.image.manifest);
        put(store, &format!("{}/a:1", registry.host()), &private, 1, |image| {
            image.public = false
        });
    })
    .await;
    let config = format!("a/blobs/{}", private.image.config.digest);
    assert_eq!(rig.get(&config, Some(PASSWORD)).await.status, 200);
    let asked = rig.registry.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.path.ends_with(&private.image.manifest.digest)),
        "{asked:?}"
    );
}

#[tokio::test]
async fn only_this_node_is_served() {
    for address in ["0.0.0.0:0", "192.0.2.1:5000", "[::]:0"] {
        let error = listen_mirror(address.parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("loopback") && error.contains(address), "{error}");
    }
}
