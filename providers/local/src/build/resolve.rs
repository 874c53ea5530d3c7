//! Which manifests, configs and layers the references mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use imagecache_blocks::{ImageRecord, LayerReference, chain_ids};
use imagecache_core::{Digest, ErrorKind, EventSeverity, ImageRef, LayerProgress, LayerStage, Result as CoreResult};
use imagecache_oci::{Compression, ImageSource, ResolvedImage};

use super::BuildInput;
use super::sink::Budget;
use crate::config::LimitsConfig;
use crate::failure::Stop;
use crate::tracker::Tracker;

/// Bytes of a layer's image for a byte of gzip or zstd, at the most of what is usual: from 2 to 3.
const IMAGE_BYTES_PER_COMPRESSED: u64 = 3;
/// The image of a layer is longer than its tar by no more than this part, as far as seen: by 1 % for large files, 7 % for small ones.
const GROWTH_OF_TAR: u64 = 8;

/// A layer that the cache needs, once however many images share it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The uncompressed layer.
    pub(super) diff_id: Digest,
    /// Length of its blob in bytes.
    pub(super) size: u64,
    /// How its media type says that the blob is compressed.
    compression: Compression,
    /// Which image to take it from.
    pub(super) image: usize,
    /// Which of that image's layers it is.
    pub(super) layer: usize,
    /// Its place in the state's list of layers.
    pub(super) shown: usize,
}

impl Wanted {
    /// A guess at the bytes of the layer's image, for the size of the volume. One too high costs some GiB of an empty device, one
    /// too low that the upload begins anew.
    pub(super) fn expected_bytes(&self) -> u64 {
        match self.compression {
            Compression::None => self.size.saturating_add(self.size / GROWTH_OF_TAR),
            Compression::Gzip | Compression::Zstd => self.size.saturating_mul(IMAGE_BYTES_PER_COMPRESSED),
        }
    }
}

/// All images of a cache.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) images: Vec<Arc<ResolvedImage>>,
    pub(super) records: Vec<ImageRecord>,
    pub(super) wanted: Vec<Wanted>,
}

/// Resolves every image of the spec, in order.
pub(super) async fn resolve_images(tracker: &Tracker, input: &BuildInput) -> Result<Resolved, Stop> {
    let references = tracker.record().spec.images;
    let mut images = Vec::new();
    let mut records = Vec::new();
    for reference in &references {
        tracker.event(EventSeverity::Normal, "Pulling", format!("Pulling image {reference}"));
        let image = Arc::new(resolve_image(input, reference).await?);
        // Nodes give its manifest to others, and only that of a public image to anyone.
        let public = input.session.is_public(&image).await;
        records.push(record(reference, &image, public));
        images.push(image);
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for (image, resolved) in images.iter().enumerate() {
        for (layer, descriptor) in resolved.layers.iter().enumerate() {
            if !wanted.iter().any(|other| other.diff_id == descriptor.diff_id) {
                let shown = wanted.len();
                wanted.push(Wanted {
                    diff_id: descriptor.diff_id.clone(),
                    size: descriptor.size,
                    compression: descriptor.compression,
                    image,
                    layer,
                    shown,
                });
            }
        }
    }
    Ok(Resolved {
        images,
        records,
        wanted,
    })
}

/// Asks the configured files first, then the registry.
async fn resolve_image(input: &BuildInput, reference: &ImageRef) -> CoreResult<ResolvedImage> {
    for source in &input.sources {
        let named = match source {
            ImageSource::OciLayout { path, .. } => ImageSource::OciLayout {
                path: path.clone(),
                tag: Some(reference.to_string()),
            },
            ImageSource::DockerArchive { path, .. } => ImageSource::DockerArchive {
                path: path.clone(),
                reference: Some(reference.to_string()),
            },
            ImageSource::Registry(_) => continue,
        };
        match input.session.resolve(&named, &input.platform).await {
            Ok(image) => return Ok(image),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    input
        .session
        .resolve(&ImageSource::Registry(reference.clone()), &input.platform)
        .await
}

fn record(reference: &ImageRef, image: &ResolvedImage, public: bool) -> ImageRecord {
    let diff_ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let layers = image
        .layers
        .iter()
        .zip(chain_ids(&diff_ids))
        .map(|(layer, chain_id)| LayerReference {
            diff_id: layer.diff_id.clone(),
            chain_id,
            blob: layer.digest.clone(),
            blob_bytes: layer.size,
        });
    ImageRecord {
        reference: reference.clone(),
        media_type: image.manifest.media_type.clone(),
        manifest: image.manifest.digest.clone(),
        manifest_bytes: image.manifest.bytes.len() as u64,
        index: image.index.as_ref().map(|index| index.digest.clone()),
        public,
        config: image.config.digest.clone(),
        platform: image.platform.clone(),
        layers: layers.collect(),
    }
}

impl Resolved {
    /// The layers in the order in which they are fetched and lie in the volume: large ones first, so that none is left alone
    /// at the end.
    pub(super) fn in_order(&self) -> Vec<Wanted> {
        let mut wanted = self.wanted.clone();
        wanted.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        wanted
    }

    /// Compressed bytes of all layers, shared ones counted once.
    pub(super) fn compressed_bytes(&self) -> u64 {
        self.wanted.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }

    /// What can be refused before anything is fetched.
    pub(super) fn check(&self, limits: &LimitsConfig, budget: &Budget) -> Result<(), Stop> {
        for image in &self.records {
            if image.layers.is_empty() {
                let message = format!("image {} has no layers, so there is nothing to cache", image.reference);
                return Err(Stop::failed(ErrorKind::Unsupported, message));
            }
            if image.layers.len() > limits.max_layers {
                let message = format!(
                    "image {} has {} layers, at most {} are allowed",
                    image.reference,
                    image.layers.len(),
                    limits.max_layers
                );
                return Err(Stop::failed(ErrorKind::Unsupported, message));
            }
        }
        // Compressed, the images are smaller than what they become: too large now is too large for good.
        if self.compressed_bytes() > budget.limit() {
            return Err(budget.too_large(self.compressed_bytes()));
        }
        Ok(())
    }

    /// The layers as the state shows them.
    pub(super) fn progress(&self) -> Vec<LayerProgress> {
        let shown = self.wanted.iter().filter_map(|wanted| {
            let descriptor = self.images.get(wanted.image)?.layers.get(wanted.layer)?;
            Some(LayerProgress {
                digest: descriptor.digest.clone(),
                total_bytes: wanted.size,
                done_bytes: 0,
                stage: LayerStage::Waiting,
            })
        });
        shown.collect()
    }

    /// Manifests, configs and indexes.
    pub(super) fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        self.images
            .iter()
            .flat_map(|image| [Some(&image.manifest), Some(&image.config), image.index.as_ref()])
            .flatten()
            .map(|blob| (blob.digest.clone(), blob.bytes.clone()))
            .collect()
    }
}
