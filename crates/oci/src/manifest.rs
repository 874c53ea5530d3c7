//! Pure parsers of manifests, indexes and configs: bytes in, checked parts out.

use imagecache_core::{Digest, Error, ErrorKind, Platform};
use serde::Deserialize;

use crate::error::fail;
use crate::media_type::{self, clip};

/// Most layers an image may have. overlayfs stacks at most 500; Docker itself stops at 127.
pub const MAX_LAYERS: usize = 500;
/// Most manifests an index may list; real ones have under 40.
pub const MAX_INDEX_ENTRIES: usize = 4096;

/// A pointer to a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// One line of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest (or nested index) that it points to.
    pub descriptor: Descriptor,
    /// The platform it is for, if it says so.
    pub platform: Option<Platform>,
    /// `org.opencontainers.image.ref.name`, the tag in an OCI layout.
    pub ref_name: Option<String>,
    /// `io.containerd.image.name`, the full reference in a layout that containerd or Docker wrote.
    pub image_name: Option<String>,
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A manifest or an index, told apart by content as much as by media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One image for each of several platforms.
    Index(Vec<IndexEntry>),
}

/// What the pipeline needs of an image config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// The platform that the image is for.
    pub platform: Platform,
    /// Digest of each uncompressed layer, lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawDocument {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
struct RawDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: i64,
    platform: Option<RawPlatform>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    rootfs: Option<RawRootfs>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Parses a manifest or index. `what` names it in errors; `media_type` is what the registry called it, if anything.
///
/// Errors: `Unsupported` for schema 1 and unknown documents, `Internal` for what is malformed.
pub fn parse_document(bytes: &[u8], media_type: Option<&str>, what: &str) -> Result<Document, Error> {
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(|error| {
        fail(ErrorKind::Internal, "resolve", format!("{what} is not a manifest")).with_source(error)
    })?;
    if raw.schema_version == Some(1) || media_type.is_some_and(|m| m.contains("docker.distribution.manifest.v1")) {
        let message = format!(
            "{what} has the obsolete format `Docker schema 1`; push the image again with a current tool to convert it"
        );
        return Err(fail(ErrorKind::Unsupported, "resolve", message));
    }
    if raw.schema_version != Some(2) {
        return Err(fail(
            ErrorKind::Internal,
            "resolve",
            format!("{what} has no `schemaVersion` 2"),
        ));
    }
    // A document that is both could be read one way here and another way elsewhere under one digest (CVE-2021-41190).
    if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
        return Err(fail(
            ErrorKind::Internal,
            "resolve",
            format!("{what} is a manifest and an index at once"),
        ));
    }
    let declared = raw.media_type.as_deref().or(media_type).unwrap_or_default();
    match (raw.manifests, raw.config) {
        (Some(manifests), _) => index(manifests, what).map(Document::Index),
        (None, Some(config)) => manifest(config, raw.layers.unwrap_or_default(), what).map(Document::Manifest),
        (None, None) => {
            let message = format!("{what} is not a container image (media type `{}`)", clip(declared));
            Err(fail(ErrorKind::Unsupported, "resolve", message))
        }
    }
}

fn index(raw: Vec<RawDescriptor>, what: &str) -> Result<Vec<IndexEntry>, Error> {
    if raw.len() > MAX_INDEX_ENTRIES {
        let message = format!("{what} lists {} manifests, more than {MAX_INDEX_ENTRIES}", raw.len());
        return Err(fail(ErrorKind::Internal, "resolve", message));
    }
    raw.into_iter()
        .map(|mut raw| {
            let platform = raw
                .platform
                .take()
                .filter(|p| !p.os.is_empty() && !p.architecture.is_empty());
            let mut annotations = raw.annotations.take().unwrap_or_default();
            Ok(IndexEntry {
                platform: platform.map(|p| platform_of(p.os, p.architecture, p.variant)),
                ref_name: annotations.remove("org.opencontainers.image.ref.name"),
                image_name: annotations.remove("io.containerd.image.name"),
                descriptor: descriptor(raw, what)?,
            })
        })
        .collect()
}

fn manifest(config: RawDescriptor, layers: Vec<RawDescriptor>, what: &str) -> Result<Manifest, Error> {
    if layers.len() > MAX_LAYERS {
        let message = format!("{what} has {} layers, more than {MAX_LAYERS}", layers.len());
        return Err(fail(ErrorKind::Unsupported, "resolve", message));
    }
    Ok(Manifest {
        config: descriptor(config, what)?,
        layers: layers
            .into_iter()
            .map(|layer| descriptor(layer, what))
            .collect::<Result<_, _>>()?,
    })
}

fn descriptor(raw: RawDescriptor, what: &str) -> Result<Descriptor, Error> {
    let bad = |problem: String| fail(ErrorKind::Internal, "resolve", format!("{what}: {problem}"));
    Ok(Descriptor {
        digest: raw.digest.parse::<Digest>().map_err(|error| bad(error.to_string()))?,
        size: u64::try_from(raw.size).map_err(|_| bad(format!("blob size {} is negative", raw.size)))?,
        media_type: raw.media_type,
    })
}

/// Parses an image config. `what` names it in errors.
///
/// Errors: `Unsupported` when it is no image config, `Internal` for what is malformed.
pub fn parse_config(bytes: &[u8], what: &str) -> Result<ImageConfig, Error> {
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(|error| {
        fail(ErrorKind::Internal, "resolve", format!("{what} is not an image config")).with_source(error)
    })?;
    let Some(rootfs) = raw.rootfs else {
        let message = format!("{what} names no layers (`rootfs`): it is not a container image");
        return Err(fail(ErrorKind::Unsupported, "resolve", message));
    };
    let diff_ids = rootfs
        .diff_ids
        .iter()
        .map(|text| {
            text.parse::<Digest>()
                .map_err(|error| fail(ErrorKind::Internal, "resolve", format!("{what}: diff id: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(ImageConfig {
        platform: platform_of(raw.os, raw.architecture, raw.variant),
        diff_ids,
    })
}

fn platform_of(os: String, architecture: String, variant: Option<String>) -> Platform {
    let (os, architecture) = (clip(&os), clip(&architecture));
    Platform {
        os,
        architecture,
        variant: variant.map(|v| clip(&v)).filter(|v| !v.is_empty()),
    }
    .normalized()
}

/// Checks that manifest and config agree and that every layer can be read.
pub fn check_image(manifest: &Manifest, config: &ImageConfig, what: &str) -> Result<(), Error> {
    for (index, layer) in manifest.layers.iter().enumerate() {
        media_type::check_layer(&layer.media_type, &format!("layer {} of {what}", index + 1))?;
    }
    if manifest.layers.len() != config.diff_ids.len() {
        let message = format!(
            "{what} is inconsistent: its manifest has {} layers, its config {}",
            manifest.layers.len(),
            config.diff_ids.len()
        );
        return Err(fail(ErrorKind::Internal, "resolve", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_image() {
        for (name, json, kind) in [
            ("not json", "<html>", ErrorKind::Internal),
            ("schema 1", r#"{"schemaVersion":1,"name":"x"}"#, ErrorKind::Unsupported),
            (
                "both",
                r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
                ErrorKind::Internal,
            ),
            ("neither", r#"{"schemaVersion":2}"#, ErrorKind::Unsupported),
            ("no version", r#"{"manifests":[]}"#, ErrorKind::Internal),
            (
                "bad digest",
                r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#,
                ErrorKind::Internal,
            ),
        ] {
            let error = parse_document(json.as_bytes(), None, "manifest of `x`").unwrap_err();
            assert_eq!(error.kind(), kind, "{name}");
            assert!(error.message().contains("`x`"), "{name}: {error}");
        }
    }

    #[test]
    fn names_unsupported_layers() {
        for (name, media_type, word) in [
            (
                "encrypted",
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                "encrypted",
            ),
            (
                "foreign",
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "not distributable",
            ),
            ("wasm", "application/wasm", "not a filesystem"),
        ] {
            let digest = Digest::sha256_of(b"");
            let layer = Descriptor {
                media_type: media_type.to_owned(),
                digest: digest.clone(),
                size: 1,
            };
            let manifest = Manifest {
                config: layer.clone(),
                layers: vec![layer],
            };
            let config = ImageConfig {
                platform: Platform::linux("amd64"),
                diff_ids: vec![digest],
            };
            let error = check_image(&manifest, &config, "`x`").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
            assert!(
                error.message().contains(word) && error.message().contains(media_type),
                "{name}: {error}"
            );
        }
    }
}
