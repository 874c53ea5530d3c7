//! What others read of a store without our code: containerd's paths of layer images, and the OCI layout.

use std::fs;
use std::path::Path;

use imagecache_core::{CacheSpec, Digest, Phase, RegistryCredential, Secret, system_clock};
use imagecache_fakes::image::{Compression, Format, Image, LayerBuilder};
use imagecache_fakes::registry::{Auth, FakeRegistry};
use serde_json::Value;

use crate::support::{build, noise, open, spec};

/// An image of this machine's platform.
fn image(seed: u64) -> Image {
    let layers = (0..3).map(|number| {
        let name = format!("file-{number}");
        let builder = LayerBuilder::new().file(&name, &noise(seed + number, 20_000), 0o644);
        builder.build([Compression::Gzip, Compression::None, Compression::Zstd][usize::try_from(number).unwrap()])
    });
    Image::of(
        &imagecache_core::Platform::host().to_string(),
        Format::Oci,
        layers.collect(),
    )
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Reads a blob of the OCI layout and compares it with its name.
fn blob(store: &Path, digest: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(store.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(Digest::sha256_of(&bytes).to_string(), digest);
    bytes
}

/// The images of the store's index.
fn listed(store: &Path) -> Vec<Value> {
    let index = json(&fs::read(store.join("index.json")).unwrap());
    index["manifests"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_is_where_containerd_looks_for_it() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), system_clock());
    let built = image(1);
    let reference = registry.push("a", "1", &built);
    let state = build(&provider, "x", &spec(&reference)).await;
    assert_eq!(state.phase, Phase::Ready, "{state:?}");
    // `layer_content_caches = ["<store>/layers"]`: <dir>/<algorithm>/<first two>/<hex>.erofs, by plain stat.
    let manifest = json(&blob(
        directory.path(),
        listed(directory.path())[0]["digest"].as_str().unwrap(),
    ));
    let config = json(&blob(directory.path(), manifest["config"]["digest"].as_str().unwrap()));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(diff_ids.len(), built.layers.len());
    for (diff_id, layer) in diff_ids.iter().zip(&built.layers) {
        let diff_id = diff_id.as_str().unwrap();
        assert_eq!(diff_id, Digest::sha256_of(&layer.tar).to_string());
        let hex = diff_id.strip_prefix("sha256:").unwrap();
        let path = directory
            .path()
            .join(format!("layers/sha256/{}/{hex}.erofs", &hex[..2]));
        let meta = fs::metadata(&path).unwrap();
        assert!(
            meta.is_file() && meta.len() >= 4096 && meta.len().is_multiple_of(4096),
            "{}: {meta:?}",
            path.display()
        );
        // The magic number of EROFS, where every reader looks.
        assert_eq!(
            fs::read(&path).unwrap()[1024..1028],
            0xE0F5_E1E2_u32.to_le_bytes(),
            "{}",
            path.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_that_a_tag_means_is_kept_and_named() {
    let registry = FakeRegistry::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), system_clock());
    let (ours, others) = (image(1), Image::of("linux/s390x", Format::Oci, image(9).layers));
    let reference = registry.push_index("a", "1", &[&others, &ours]);
    let state = build(&provider, "x", &spec(&reference)).await;
    assert_eq!(state.phase, Phase::Ready, "{state:?}");
    let entry = &listed(directory.path())[0];
    assert_eq!(entry["digest"], ours.manifest.digest.as_str());
    let named = entry["annotations"]["dev.imagecache.index"].as_str().unwrap();
    let index = json(&blob(directory.path(), named));
    let manifests = index["manifests"].as_array().unwrap();
    assert!(
        manifests
            .iter()
            .any(|entry| entry["digest"] == ours.manifest.digest.as_str()),
        "{index}"
    );
    assert_eq!(state.resolved[0].index.as_ref().unwrap().to_string(), named);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anyone_may_have_is_marked_and_nothing_else() {
    let login = |registry: &FakeRegistry, reference: &str| CacheSpec {
        credentials: vec![RegistryCredential {
            server: registry.host(),
            username: "u".to_owned(),
            password: Secret::new("hunter2".to_owned()),
        }],
        ..spec(reference)
    };
    for (name, auth, with_login, expected) in [
        ("open", Auth::Open, false, true),
        ("open, and there was a login", Auth::Open, true, true),
        (
            "for one user",
            Auth::Basic("u".to_owned(), "hunter2".to_owned()),
            true,
            false,
        ),
    ] {
        let registry = FakeRegistry::start_with(auth).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let provider = open(directory.path(), system_clock());
        let reference = registry.push("a", "1", &image(1));
        let spec = if with_login {
            login(&registry, &reference)
        } else {
            spec(&reference)
        };
        let state = build(&provider, "x", &spec).await;
        assert_eq!(state.phase, Phase::Ready, "{name}: {state:?}");
        let annotations = &listed(directory.path())[0]["annotations"];
        assert_eq!(
            annotations["dev.imagecache.public"] == "true",
            expected,
            "{name}: {annotations}"
        );
    }
}
