//! What resolving an image gives: verified documents and the list of layers.

use std::sync::Arc;

use imagecache_core::{Digest, ImageRef, Platform};

use crate::decode::Compression;
use crate::session::Origin;

/// A document whose bytes were checked against its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Digest of `bytes`.
    pub digest: Digest,
    /// What the bytes are.
    pub media_type: String,
    /// The bytes, exactly as the source has them.
    pub bytes: Vec<u8>,
}

/// One layer of a resolved image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Digest of the blob, compressed or not.
    pub digest: Digest,
    /// Length of the blob in bytes.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: String,
    /// What the media type says about compression. Reading looks at the bytes instead.
    pub compression: Compression,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// An image of one platform, ready to read layers from.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// What was asked for. For files, the name that the file gives or one made from its file name.
    pub reference: ImageRef,
    /// The index that the manifest was chosen from, if there was one.
    pub index: Option<Blob>,
    /// The image manifest.
    pub manifest: Blob,
    /// The image config.
    pub config: Blob,
    /// The platform that the config says the image is for.
    pub platform: Platform,
    /// The layers, lowest first.
    pub layers: Vec<LayerDescriptor>,
    pub(crate) origin: Arc<Origin>,
}

impl ResolvedImage {
    /// The digest by which the image is known to its users: the index's if there is one, else the manifest's.
    pub fn digest(&self) -> &Digest {
        &self.index.as_ref().unwrap_or(&self.manifest).digest
    }

    /// The same image, with layers read from the registry itself: for a second try after a mirror served wrong bytes.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        let mut image = self.clone();
        if let Origin::Registry(endpoints) = self.origin.as_ref() {
            let own = endpoints.iter().filter(|endpoint| !endpoint.is_mirror()).cloned();
            image.origin = Arc::new(Origin::Registry(own.collect()));
        }
        image
    }

    /// Sum of the sizes of all layer blobs, in bytes.
    pub fn compressed_size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}
