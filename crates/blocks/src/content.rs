//! The OCI side of a store: its index, and which parts make up an image. Reads stores and mounted volumes alike.

use imagecache_core::{Digest, ImageRef};
use serde::{Deserialize, Serialize};

use crate::cache_record::ImageRecord;
use crate::error::{Error, Result};
use crate::part::{Part, chain_ids};
use crate::store::Store;

/// The file that marks an OCI layout, and its content.
pub(crate) const OCI_LAYOUT: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
pub(crate) const INDEX_FILE: &str = "index.json";
const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Where the OCI specification wants the reference of an image in a layout.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd looks for the full name when it imports a layout.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The multi-platform index that the manifest was chosen from; it is among the blobs.
const CHOSEN_FROM: &str = "dev.imagecache.index";
/// There, with [`YES`], when the registry gives the image to anyone.
const PUBLIC: &str = "dev.imagecache.public";
const YES: &str = "true";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: String,
    manifests: Vec<IndexEntry>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<IndexPlatform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct IndexPlatform {
    architecture: String,
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

/// The `index.json` over `images`: sorted, each once, so that the same images give the same bytes.
pub(crate) fn index_json<'a>(images: impl IntoIterator<Item = &'a ImageRecord>) -> Vec<u8> {
    let mut manifests: Vec<IndexEntry> = images
        .into_iter()
        .map(|image| {
            let name = image.reference.to_string();
            let annotations = [
                Some((REFERENCE_NAME, name.clone())),
                Some((CONTAINERD_NAME, name)),
                image.index.as_ref().map(|index| (CHOSEN_FROM, index.to_string())),
                image.public.then(|| (PUBLIC, YES.to_owned())),
            ];
            let annotations = annotations.into_iter().flatten();
            IndexEntry {
                media_type: image.media_type.clone(),
                digest: image.manifest.clone(),
                size: image.manifest_bytes,
                platform: Some(IndexPlatform {
                    architecture: image.platform.architecture.clone(),
                    os: image.platform.os.clone(),
                    variant: image.platform.variant.clone(),
                }),
                annotations: annotations.map(|(key, value)| (key.to_owned(), value)).collect(),
            }
        })
        .collect();
    manifests.sort();
    manifests.dedup();
    let index = Index {
        schema_version: 2,
        media_type: INDEX_MEDIA_TYPE.to_owned(),
        manifests,
    };
    // Strings and numbers always serialize.
    serde_json::to_vec(&index).unwrap_or_default()
}

/// Digest of the `index.json` over `images`: which images a volume is made for.
pub fn index_digest(images: &[ImageRecord]) -> Digest {
    Digest::sha256_of(&index_json(images))
}

/// An image that a store names in its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// What it is kept under.
    pub reference: ImageRef,
    /// Its manifest.
    pub manifest: Digest,
    /// Media type of the manifest.
    pub media_type: String,
    /// The multi-platform index that the reference means, when it means one.
    pub index: Option<Digest>,
    /// Whether the registry gives it to anyone.
    pub public: bool,
}

/// The images that an `index.json` names, with the reference that each is kept under.
///
/// # Errors
/// `Damaged` when it is no index.
pub fn stored_images(index: &[u8]) -> Result<Vec<StoredImage>> {
    let index: Index = serde_json::from_slice(index).map_err(|error| Error::damaged(INDEX_FILE, error.to_string()))?;
    let images = index.manifests.into_iter().filter_map(|entry| {
        let reference = ImageRef::parse(entry.annotations.get(REFERENCE_NAME)?).ok()?;
        Some(StoredImage {
            reference,
            index: entry.annotations.get(CHOSEN_FROM).and_then(|text| text.parse().ok()),
            public: entry.annotations.get(PUBLIC).is_some_and(|value| value == YES),
            manifest: entry.digest,
            media_type: entry.media_type,
        })
    });
    Ok(images.collect())
}

/// The parts of an image as overlayfs stacks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStack {
    /// Top first; never empty.
    pub parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Manifest {
    config: ManifestConfig,
}

#[derive(Deserialize)]
struct ManifestConfig {
    digest: Digest,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// The parts that make up the image with this manifest.
///
/// # Errors
/// `Missing` when the manifest, its config or a layer is not in the store.
pub fn image_stack(store: &dyn Store, manifest: &Digest) -> Result<ImageStack> {
    stack_of(store, &image_diff_ids(store, manifest)?)
}

/// The diffIDs of the layers of the image with this manifest, lowest first.
///
/// # Errors
/// `Missing` when the manifest or its config is not in the store, `Damaged` when it cannot be read.
pub fn image_diff_ids(store: &dyn Store, manifest: &Digest) -> Result<Vec<Digest>> {
    let read = |what: &str, digest: &Digest| {
        store.blob(digest)?.ok_or_else(|| Error::Missing {
            what: format!("{what} {digest}"),
            store: store.location().into(),
        })
    };
    let damaged = |what: &str, error: serde_json::Error| Error::damaged(what, error.to_string());
    let parsed: Manifest = serde_json::from_slice(&read("manifest", manifest)?)
        .map_err(|error| damaged(&format!("manifest {manifest}"), error))?;
    let digest = parsed.config.digest;
    let config: Config = serde_json::from_slice(&read("image config", &digest)?)
        .map_err(|error| damaged(&format!("image config {digest}"), error))?;
    Ok(config.rootfs.diff_ids)
}

/// The stack of layers with these diffIDs, lowest first; each layer's patch is above it.
pub(crate) fn stack_of(store: &dyn Store, diff_ids: &[Digest]) -> Result<ImageStack> {
    let missing = |what: String| Error::Missing {
        what,
        store: store.location().into(),
    };
    let mut stack = ImageStack { parts: Vec::new() };
    for (diff_id, chain_id) in diff_ids.iter().zip(chain_ids(diff_ids)).rev() {
        let layer = store
            .layer(diff_id)?
            .ok_or_else(|| missing(format!("layer {diff_id}")))?;
        if store.patch(&chain_id)?.is_some() {
            stack.parts.push(Part::Patch(chain_id));
        }
        stack.parts.push(Part::Layer(diff_id.clone()));
        if layer.root_is_opaque {
            break;
        }
    }
    Ok(stack)
}
