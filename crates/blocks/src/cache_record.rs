//! What a store knows of a cache: its state, what was asked for, and what it uses.

use std::collections::BTreeSet;

use imagecache_core::{CacheSpec, CacheState, Digest, ImageRef, Phase, Platform, Retention};
use serde::{Deserialize, Serialize};

use crate::part::Part;
use crate::snapshot::SnapshotId;
use crate::snapshot_store::Published;

/// Version of the record format.
pub(crate) const CACHE_RECORD_VERSION: u32 = 1;

/// One cache. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Version of this format.
    pub version: u32,
    /// What users see.
    pub state: CacheState,
    /// What was asked for.
    pub spec: SpecRecord,
    /// Marks one build: a record with another mark belongs to another build, whatever its key.
    pub build: String,
    /// The images as they were resolved, in the order of the spec; empty before that.
    #[serde(default)]
    pub images: Vec<ImageRecord>,
    /// What the garbage collector must leave alone.
    #[serde(default)]
    pub references: References,
    /// The finished snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// How the snapshot is kept outside the directory, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

impl CacheRecord {
    /// A record of the current version for a build that has not begun.
    pub fn new(state: CacheState, spec: SpecRecord, build: String) -> Self {
        Self {
            version: CACHE_RECORD_VERSION,
            state,
            spec,
            build,
            images: Vec::new(),
            references: References::default(),
            snapshot: None,
            published: None,
        }
    }

    /// Whether the cache can be used.
    pub fn is_ready(&self) -> bool {
        self.state.phase == Phase::Ready
    }
}

/// A [`CacheSpec`] without its credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpecRecord {
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The images, in the order given.
    pub images: Vec<ImageRef>,
    /// Size of the cache in GiB.
    pub size_gib: u32,
    /// How long the cache is kept.
    pub retention: Retention,
    /// Platform asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Registries reached over plain HTTP.
    #[serde(default)]
    pub plain_http_registries: Vec<String>,
    /// Registries whose certificate is not checked.
    #[serde(default)]
    pub insecure_registries: Vec<String>,
}

impl From<&CacheSpec> for SpecRecord {
    fn from(spec: &CacheSpec) -> Self {
        Self {
            display_name: spec.display_name.clone(),
            images: spec.images.clone(),
            size_gib: spec.size_gib,
            retention: spec.retention,
            platform: spec.platform.clone(),
            plain_http_registries: spec.plain_http_registries.clone(),
            insecure_registries: spec.insecure_registries.clone(),
        }
    }
}

/// An image as it was resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The reference that was resolved.
    pub reference: ImageRef,
    /// Media type of the manifest.
    pub media_type: String,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Size of the manifest in bytes.
    pub manifest_bytes: u64,
    /// Digest of the multi-platform index that named it, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Whether the registry gives it to anyone, as far as was found out when the cache was built.
    #[serde(default)]
    pub public: bool,
    /// Digest of the image's config.
    pub config: Digest,
    /// Platform of the image.
    pub platform: Platform,
    /// The layers, lowest first.
    pub layers: Vec<LayerReference>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReference {
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// The chain that ends with it.
    pub chain_id: Digest,
    /// Digest of the blob that the registry has.
    pub blob: Digest,
    /// Size of the blob in bytes.
    pub blob_bytes: u64,
}

/// What a cache uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// Layers and possible patches.
    pub parts: BTreeSet<Part>,
    /// Manifests, configs and indexes.
    pub blobs: BTreeSet<Digest>,
}

impl References {
    /// Everything that `images` use: blobs, layers, and a patch for each layer in case there is one.
    pub fn of(images: &[ImageRecord]) -> Self {
        let mut references = Self::default();
        for image in images {
            references.blobs.extend([image.manifest.clone(), image.config.clone()]);
            references.blobs.extend(image.index.clone());
            for layer in &image.layers {
                references.parts.insert(Part::Layer(layer.diff_id.clone()));
                references.parts.insert(Part::Patch(layer.chain_id.clone()));
            }
        }
        references
    }
}
