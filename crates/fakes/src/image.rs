//! Small images built in memory: layers from tar entries, manifests, indexes, OCI layouts, docker-archives.

use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::Digest as _;
use tar::{EntryType, Header};

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a Docker manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Which family of media types an image uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI image specification.
    Oci,
    /// Docker image manifest, version 2 schema 2.
    Docker,
}

/// A blob with its digest and media type.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// What it is.
    pub media_type: String,
    /// Its content.
    pub bytes: Bytes,
}

/// A layer: the blob and the tar in it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The blob as a registry serves it.
    pub blob: Blob,
    /// Digest of the tar.
    pub diff_id: String,
    /// The tar.
    pub tar: Bytes,
}

/// An image of one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The config.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// `os/architecture[/variant]`
    pub platform: String,
}

/// Builds a layer entry by entry. Every entry has owner 0:0 and time 0 unless its header says otherwise.
pub struct LayerBuilder {
    tar: tar::Builder<Vec<u8>>,
}

impl std::fmt::Debug for LayerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LayerBuilder")
    }
}

impl Default for LayerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

// Building in memory cannot fail but by a caller's mistake, and callers are tests.
#[allow(clippy::expect_used, reason = "writing to memory, by tests")]
impl LayerBuilder {
    /// An empty layer.
    pub fn new() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
        }
    }

    /// Adds a directory.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, mode, "", b"")
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, content: &[u8], mode: u32) -> Self {
        self.entry(path, EntryType::Regular, mode, "", content)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, 0o777, target, b"")
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, 0o644, target, b"")
    }

    /// Adds the whiteout of `path`.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let (parent, name) = path
            .rsplit_once('/')
            .map_or((String::new(), path), |(p, n)| (format!("{p}/"), n));
        self.file(&format!("{parent}.wh.{name}"), b"", 0o644)
    }

    /// Adds an entry with a header of the caller's own making; its checksum is set here.
    #[must_use]
    pub fn raw(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.tar.append(&header, content).expect("memory");
        self
    }

    fn entry(mut self, path: &str, kind: EntryType, mode: u32, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        if target.is_empty() {
            self.tar
                .append_data(&mut header, path, content)
                .expect("a path that tar can hold");
        } else {
            self.tar
                .append_link(&mut header, path, target)
                .expect("a path that tar can hold");
        }
        self
    }

    /// Ends the tar and compresses it.
    pub fn build(self, compression: Compression) -> Layer {
        Layer::from_tar(self.tar.into_inner().expect("memory"), compression)
    }
}

#[allow(clippy::expect_used, reason = "writing to memory, by tests")]
impl Layer {
    /// A layer of any bytes, a tar or not.
    pub fn from_tar(tar: Vec<u8>, compression: Compression) -> Self {
        let (bytes, media_type) = match compression {
            Compression::None => (tar.clone(), "application/vnd.oci.image.layer.v1.tar"),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&tar).expect("memory");
                (
                    encoder.finish().expect("memory"),
                    "application/vnd.oci.image.layer.v1.tar+gzip",
                )
            }
            Compression::Zstd => (
                zstd::encode_all(tar.as_slice(), 1).expect("memory"),
                "application/vnd.oci.image.layer.v1.tar+zstd",
            ),
        };
        Self {
            blob: Blob::new(bytes, media_type),
            diff_id: digest_of(&tar),
            tar: tar.into(),
        }
    }

    /// The same layer under another media type.
    #[must_use]
    pub fn with_media_type(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.blob.media_type);
        self
    }
}

impl Blob {
    /// A blob with the digest of its bytes.
    pub fn new(bytes: impl Into<Bytes>, media_type: &str) -> Self {
        let bytes = bytes.into();
        Self {
            digest: digest_of(&bytes),
            media_type: media_type.to_owned(),
            bytes,
        }
    }

    fn descriptor(&self) -> serde_json::Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

impl Image {
    /// An OCI image for `linux/amd64`.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self::of("linux/amd64", Format::Oci, layers)
    }

    /// An image for `platform` (`os/architecture[/variant]`).
    pub fn of(platform: &str, format: Format, mut layers: Vec<Layer>) -> Self {
        let mut parts = platform.split('/');
        let mut config = json!({
            "os": parts.next().unwrap_or_default(),
            "architecture": parts.next().unwrap_or_default(),
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
        });
        if let Some(variant) = parts.next() {
            config["variant"] = json!(variant);
        }
        let (manifest_type, config_type) = match format {
            Format::Oci => (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
            Format::Docker => {
                for layer in &mut layers {
                    let tail = layer
                        .blob
                        .media_type
                        .rsplit_once('+')
                        .map(|(_, tail)| format!(".{tail}"));
                    layer.blob.media_type = format!(
                        "application/vnd.docker.image.rootfs.diff.tar{}",
                        tail.unwrap_or_default()
                    );
                }
                (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
            }
        };
        let config = Blob::new(config.to_string(), config_type);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config.descriptor(),
            "layers": layers.iter().map(|layer| layer.blob.descriptor()).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(manifest.to_string(), manifest_type);
        Self {
            manifest,
            config,
            layers,
            platform: platform.to_owned(),
        }
    }

    /// The same image, whose manifest gives one of its layers another size than it has.
    #[must_use]
    #[allow(clippy::expect_used, reason = "its own manifest, by tests")]
    pub fn with_layer_size(mut self, layer: usize, bytes: u64) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest.bytes).expect("it was written as JSON");
        manifest["layers"][layer]["size"] = json!(bytes);
        self.manifest = Blob::new(manifest.to_string(), &self.manifest.media_type);
        self
    }

    /// All blobs but the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.blob))
    }

    /// The archive that `docker save` would write, old style: one directory for each layer, a list in `manifest.json`.
    #[allow(clippy::expect_used, reason = "writing to memory, by tests")]
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let mut archive = LayerBuilder::new();
        let mut paths = Vec::new();
        for layer in &self.layers {
            let path = format!("{}/layer.tar", hex_of(&layer.diff_id));
            archive = archive.file(&path, &layer.tar, 0o644);
            paths.push(path);
        }
        let config = format!("{}.json", hex_of(&self.config.digest));
        let list = json!([{ "Config": config, "RepoTags": [name], "Layers": paths }]);
        let archive =
            archive
                .file(&config, &self.config.bytes, 0o644)
                .file("manifest.json", list.to_string().as_bytes(), 0o644);
        archive.tar.into_inner().expect("memory")
    }
}

/// An index of several images, one for each platform.
pub fn index(images: &[&Image]) -> Blob {
    let manifests: Vec<_> = images
        .iter()
        .map(|image| {
            let mut parts = image.platform.split('/');
            let mut descriptor = image.manifest.descriptor();
            descriptor["platform"] = json!({ "os": parts.next(), "architecture": parts.next() });
            if let Some(variant) = parts.next() {
                descriptor["platform"]["variant"] = json!(variant);
            }
            descriptor
        })
        .collect();
    let text = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }).to_string();
    Blob::new(text, OCI_INDEX)
}

/// Writes images into an OCI layout directory, each under its tag.
pub fn write_layout(directory: &Path, images: &[(&str, &Image)]) -> std::io::Result<()> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    std::fs::write(directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut manifests = Vec::new();
    for (tag, image) in images {
        for blob in image.blobs().chain([&image.manifest]) {
            std::fs::write(blobs.join(hex_of(&blob.digest)), &blob.bytes)?;
        }
        let mut descriptor = image.manifest.descriptor();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        manifests.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    std::fs::write(directory.join("index.json"), index.to_string())
}

/// `sha256:…` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

fn hex_of(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(_, hex)| hex)
}
