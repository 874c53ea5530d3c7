//! Images written as an OCI layout on disk, which umoci and skopeo read and the in-process registry serves.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An OCI layout being filled.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
    tags: BTreeMap<String, Value>,
}

/// What a registry needs to serve one image.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Config and layers.
    pub blobs: Vec<Vec<u8>>,
}

impl Layout {
    /// An empty layout in a new directory.
    pub fn new(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir.join("blobs/sha256"))?;
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let layout = Self {
            dir: dir.to_owned(),
            tags: BTreeMap::new(),
        };
        layout.write_index()?;
        Ok(layout)
    }

    /// Adds an image of gzip layers for this machine's platform.
    pub fn add(&mut self, tag: &str, layers: &[Vec<u8>]) -> Result<()> {
        self.add_for(tag, layers, architecture())
    }

    /// Adds an image for another architecture.
    pub fn add_for(&mut self, tag: &str, layers: &[Vec<u8>], architecture: &str) -> Result<()> {
        let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
        let descriptors = layers
            .iter()
            .map(|tar| self.put(LAYER, &gzip(tar)?))
            .collect::<Result<Vec<_>>>()?;
        let config = json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": { "Env": ["PATH=/usr/bin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": layers.iter().map(|_| json!({ "created_by": "e2e" })).collect::<Vec<_>>(),
        });
        let config = self.put(CONFIG, &serde_json::to_vec(&config)?)?;
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors });
        self.tag(tag, &manifest)
    }

    fn tag(&mut self, tag: &str, manifest: &Value) -> Result<()> {
        let mut descriptor = self.put(MANIFEST, &serde_json::to_vec(manifest)?)?;
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.tags.insert(tag.to_owned(), descriptor);
        self.write_index()
    }

    /// Adds an image whose manifest gives its first layer another size than it has.
    pub fn add_claiming(&mut self, tag: &str, layers: &[Vec<u8>], size: u64) -> Result<()> {
        self.add(tag, layers)?;
        let descriptor = self.tags.get(tag).context("just added")?;
        let mut manifest: Value = serde_json::from_slice(&self.get(descriptor)?)?;
        manifest["layers"][0]["size"] = json!(size);
        self.tag(tag, &manifest)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tags that were added.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(String::as_str)
    }

    /// How umoci names one of the images.
    pub fn umoci_name(&self, tag: &str) -> String {
        format!("{}:{tag}", self.dir.display())
    }

    /// Reads an image back, for a registry.
    pub fn stored(&self, tag: &str) -> Result<Stored> {
        let descriptor = self
            .tags
            .get(tag)
            .with_context(|| format!("no image {tag} in the layout"))?;
        let manifest = self.get(descriptor)?;
        let parsed: Value = serde_json::from_slice(&manifest)?;
        let mut blobs = vec![self.get(&parsed["config"])?];
        for layer in parsed["layers"].as_array().into_iter().flatten() {
            blobs.push(self.get(layer)?);
        }
        Ok(Stored {
            media_type: MANIFEST.into(),
            manifest,
            blobs,
        })
    }

    fn get(&self, descriptor: &Value) -> Result<Vec<u8>> {
        let digest = descriptor["digest"].as_str().context("a descriptor without digest")?;
        Ok(std::fs::read(self.dir.join("blobs").join(digest.replace(':', "/")))?)
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        std::fs::write(self.dir.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    fn write_index(&self) -> Result<()> {
        let manifests: Vec<&Value> = self.tags.values().collect();
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        Ok(std::fs::write(
            self.dir.join("index.json"),
            serde_json::to_vec(&index)?,
        )?)
    }
}

/// `sha256:` and the digest in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// This machine's architecture as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
