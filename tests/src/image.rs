//! Images that the in-process registry serves, and that umoci and skopeo read from an OCI layout.

use std::path::Path;

use anyhow::{Context, Result};
use imagecache_fakes::image::{Blob, Compression, Format, Image, Layer, digest_of, write_layout};
use serde_json::{Value, json};

/// Images by their tags, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Images(Vec<(String, Image)>);

impl Images {
    /// Images of gzip layers for this machine's platform.
    pub fn of<L: AsRef<[Vec<u8>]>>(images: &[(&str, L)]) -> Self {
        let mut all = Self::default();
        for (tag, layers) in images {
            all.add(tag, layers.as_ref());
        }
        all
    }

    /// Adds such an image.
    pub fn add(&mut self, tag: &str, layers: &[Vec<u8>]) {
        self.add_for(tag, layers, architecture());
    }

    /// Adds an image for another architecture.
    pub fn add_for(&mut self, tag: &str, layers: &[Vec<u8>], architecture: &str) {
        self.0.push((tag.to_owned(), image(layers, architecture)));
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
        self.0.push((tag.to_owned(), image));
        Ok(())
    }

    /// Adds an image whose manifest gives its first layer another size than it has.
    pub fn add_claiming(&mut self, tag: &str, layers: &[Vec<u8>], size: u64) {
        let image = image(layers, architecture()).with_layer_size(0, size);
        self.0.push((tag.to_owned(), image));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.0.iter().map(|(tag, image)| (tag.as_str(), image))
    }

    /// One of them.
    pub fn get(&self, tag: &str) -> Result<&Image> {
        let found = self.iter().find(|(found, _)| *found == tag);
        found.map(|(_, image)| image).with_context(|| format!("no image {tag}"))
    }

    /// Writes them as an OCI layout into a new directory.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let images: Vec<_> = self.iter().collect();
        write_layout(dir, &images).with_context(|| format!("cannot write {}", dir.display()))
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
