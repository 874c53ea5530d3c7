//! Images written as an OCI layout on disk, which umoci and skopeo read and the in-process registry serves.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use imagecache_fakes::image::{Blob, Compression, Format, Image, Layer, digest_of, write_layout};
use serde_json::{Value, json};

/// An OCI layout being filled.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
    images: Vec<(String, Image)>,
}

impl Layout {
    /// An empty layout in a new directory.
    pub fn new(dir: &Path) -> Result<Self> {
        let layout = Self {
            dir: dir.to_owned(),
            images: Vec::new(),
        };
        layout.write()?;
        Ok(layout)
    }

    /// Adds an image of gzip layers for this machine's platform.
    pub fn add(&mut self, tag: &str, layers: &[Vec<u8>]) -> Result<()> {
        self.add_for(tag, layers, architecture())
    }

    /// Adds an image for another architecture.
    pub fn add_for(&mut self, tag: &str, layers: &[Vec<u8>], architecture: &str) -> Result<()> {
        self.push(tag, image(layers, architecture))
    }

    /// Adds an image that says what it runs, as the one of a pod's sandbox must.
    pub fn add_running(&mut self, tag: &str, layers: &[Vec<u8>], command: &[&str]) -> Result<()> {
        let mut image = image(layers, architecture());
        let mut config: Value = serde_json::from_slice(&image.config.bytes)?;
        config["config"]["Entrypoint"] = json!(command);
        image.config = Blob::new(config.to_string(), &image.config.media_type);
        let mut manifest: Value = serde_json::from_slice(&image.manifest.bytes)?;
        manifest["config"]["digest"] = json!(image.config.digest);
        manifest["config"]["size"] = json!(image.config.bytes.len());
        image.manifest = Blob::new(manifest.to_string(), &image.manifest.media_type);
        self.push(tag, image)
    }

    /// Adds an image whose manifest gives its first layer another size than it has.
    pub fn add_claiming(&mut self, tag: &str, layers: &[Vec<u8>], size: u64) -> Result<()> {
        let mut image = image(layers, architecture());
        let mut manifest: Value = serde_json::from_slice(&image.manifest.bytes)?;
        manifest["layers"][0]["size"] = json!(size);
        image.manifest = Blob::new(manifest.to_string(), &image.manifest.media_type);
        self.push(tag, image)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The images by their tags.
    pub fn images(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.images.iter().map(|(tag, image)| (tag.as_str(), image))
    }

    /// How umoci names one of the images.
    pub fn umoci_name(&self, tag: &str) -> String {
        format!("{}:{tag}", self.dir.display())
    }

    fn push(&mut self, tag: &str, image: Image) -> Result<()> {
        self.images.push((tag.to_owned(), image));
        self.write()
    }

    fn write(&self) -> Result<()> {
        let images: Vec<_> = self.images().collect();
        write_layout(&self.dir, &images).with_context(|| format!("cannot write {}", self.dir.display()))
    }
}

fn image(layers: &[Vec<u8>], architecture: &str) -> Image {
    let layers = layers
        .iter()
        .map(|tar| Layer::from_tar(tar.clone(), Compression::Gzip))
        .collect();
    Image::of(&format!("linux/{architecture}"), Format::Oci, layers)
}

/// `sha256:` and the digest in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    digest_of(bytes)
}

/// This machine's architecture as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
