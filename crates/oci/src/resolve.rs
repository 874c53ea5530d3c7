//! The last steps that all sources share: from verified documents to a resolved image.

use std::sync::Arc;

use imagecache_core::{ErrorKind, ImageRef, Platform, Result};

use crate::decode::Compression;
use crate::error::fail;
use crate::image::{Blob, LayerDescriptor, ResolvedImage};
use crate::manifest::{self, Manifest};
use crate::select;
use crate::session::Origin;

/// Indexes inside indexes that we follow; layouts written by some builders have two.
pub(crate) const MAX_INDEX_DEPTH: usize = 3;

/// Verified documents of one image.
pub(crate) struct Parts {
    pub(crate) reference: ImageRef,
    pub(crate) index: Option<Blob>,
    /// The manifest's bytes.
    pub(crate) blob: Blob,
    pub(crate) manifest: Manifest,
    pub(crate) config: Blob,
}

/// Checks that the documents agree with each other and with `platform`.
pub(crate) fn finish(mut parts: Parts, platform: &Platform, origin: Arc<Origin>) -> Result<ResolvedImage> {
    let what = format!("image `{}`", parts.reference);
    let config = manifest::parse_config(&parts.config.bytes, &format!("config of {what}"))?;
    manifest::check_image(&parts.manifest, &config, &what)?;
    // A config without a platform is old or minimal; there is nothing to compare then.
    let known = !config.platform.os.is_empty() && !config.platform.architecture.is_empty();
    // An index is trusted over the config: old builders leave the variant out of configs.
    if parts.index.is_none() && known && !select::runs_on(&config.platform, platform) {
        let message = format!("{what} has no platform {platform}; it has: {}", config.platform);
        return Err(fail(ErrorKind::NotFound, "resolve", message));
    }
    if parts.blob.media_type.is_empty() || !parts.blob.media_type.contains("manifest") {
        crate::media_type::OCI_MANIFEST.clone_into(&mut parts.blob.media_type);
    }
    let layers = parts
        .manifest
        .layers
        .into_iter()
        .zip(config.diff_ids)
        .map(|(layer, diff_id)| LayerDescriptor {
            compression: Compression::of_media_type(&layer.media_type),
            digest: layer.digest,
            size: layer.size,
            media_type: layer.media_type,
            diff_id,
        });
    Ok(ResolvedImage {
        index: parts.index,
        manifest: parts.blob,
        config: parts.config,
        platform: if known { config.platform } else { platform.clone() },
        layers: layers.collect(),
        reference: parts.reference,
        origin,
    })
}
