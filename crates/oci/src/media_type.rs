//! Media types of manifests, configs and layers, and what each means here.

use imagecache_core::{Error, ErrorKind};

use crate::error::fail;

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Uncompressed OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Gzip-compressed OCI layer.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Zstd-compressed OCI layer.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Layers that we read. The registered names only: anything else may need a key or a decoder that we lack.
const LAYERS: &[&str] = &[
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// `Accept` of a manifest request.
pub(crate) const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// Refuses a layer that cannot be turned into a filesystem, with the reason.
pub(crate) fn check_layer(media_type: &str, what: &str) -> Result<(), Error> {
    if LAYERS.contains(&media_type) {
        return Ok(());
    }
    let reason = if media_type.ends_with("+encrypted") {
        "is encrypted, and there is no key to read it with"
    } else if media_type.contains("nondistributable") || media_type.contains("foreign") {
        "is not distributable: its registry does not serve it"
    } else {
        "is not a filesystem layer"
    };
    Err(fail(
        ErrorKind::Unsupported,
        "resolve",
        format!("{what} {reason} (media type `{}`)", clip(media_type)),
    ))
}

/// Text from a registry, short enough for a message and without control characters.
pub(crate) fn clip(text: &str) -> String {
    /// Longest piece of foreign text that we repeat.
    const MAX_CHARS: usize = 160;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_CHARS)
        .collect()
}
