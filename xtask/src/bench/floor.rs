//! The least that any builder must do: hash what came, inflate it, hash what came out.
//!
//! Done by the fastest programs Debian has (igzip of Intel's ISA-L or zstd, and openssl's SHA-256), with the layers already
//! on disk and nothing written, all layers at once on all cores.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::measure::{self, Sample};
use crate::shell;

/// The layers of one image, on disk.
pub struct Layers(Vec<Layer>);

struct Layer {
    blob: PathBuf,
    inflate: &'static [&'static str],
}

/// Fetches an image into `dir` as an OCI layout.
pub fn fetch(image: &str, dir: &Path) -> Result<Layers> {
    let target = format!("oci:{}:floor", dir.display());
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{image}"))
        .arg(target);
    shell::run(&mut copy)?;
    let blob = |digest: &str| dir.join("blobs").join(digest.replace(':', "/"));
    let read = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let index = read(&dir.join("index.json"))?;
    let manifest = read(&blob(
        index["manifests"][0]["digest"]
            .as_str()
            .context("the layout has no manifest")?,
    ))?;
    let mut layers = Vec::new();
    for layer in manifest["layers"].as_array().context("the manifest has no layers")? {
        let digest = layer["digest"].as_str().context("a layer without digest")?;
        let zstd = layer["mediaType"]
            .as_str()
            .is_some_and(|media_type| media_type.ends_with("zstd"));
        let inflate: &[&str] = if zstd { &["zstd", "-dcq"] } else { &["igzip", "-dc"] };
        layers.push(Layer {
            blob: blob(digest),
            inflate,
        });
    }
    Ok(Layers(layers))
}

/// Hashes, inflates and hashes every layer.
pub fn run(layers: &Layers) -> Result<Sample> {
    measure::time(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = layers.0.iter().map(|layer| scope.spawn(|| one(layer))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("the floor panicked")))
        })
    })
}

fn one(layer: &Layer) -> Result<()> {
    let hash = || {
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256"]).stdout(Stdio::null());
        command
    };
    let mut packed = hash().arg(&layer.blob).spawn().context("cannot start openssl")?;
    let mut inflate = Command::new(layer.inflate[0])
        .args(&layer.inflate[1..])
        .arg(&layer.blob)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", layer.inflate[0]))?;
    let unpacked = inflate.stdout.take().context("no stdout")?;
    let hashed = hash().stdin(unpacked).status()?.success();
    if !(packed.wait()?.success() && inflate.wait()?.success() && hashed) {
        bail!("inflating {} failed", layer.blob.display());
    }
    Ok(())
}
