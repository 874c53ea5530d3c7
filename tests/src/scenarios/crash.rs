//! `kill -9` at random moments of a build.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::context::Context;
use crate::registry::Registry;
use crate::scenarios::images;
use crate::store;

/// Kills are spread over this much of an uninterrupted build's time, so that some come after its end.
const SPREAD: f64 = 1.2;

pub async fn killed_builds_finish(context: Context) -> Result<()> {
    let registry = Registry::of(&[("heavy", images::heavy(31, 4, 12)?)]).await?;
    kill_and_finish(&context, &registry.image("heavy")).await
}

pub async fn killed_builds_of_a_big_image_finish(context: Context) -> Result<()> {
    let image = format!("{}/java:17", context.registry()?);
    kill_and_finish(&context, &image).await
}

async fn kill_and_finish(context: &Context, image: &str) -> Result<()> {
    let reference = context.binary_over(&context.dir.join("reference"));
    let start = Instant::now();
    let id = reference.create(image).await?;
    let whole = start.elapsed();
    for round in 0..context.options.rounds {
        let binary = context.binary_over(&context.dir.join(format!("store-{round}")));
        let delay = whole.mul_f64(random()? * SPREAD);
        let outcome = async {
            let mut child = binary.spawn(&["create", "--wait", image], &context.dir.join("killed.log"))?;
            tokio::time::sleep(delay).await;
            child.kill().await.context("cannot kill the build")?;
            let kept = finished(binary.store())?;
            let times = modified(&kept)?;
            ensure!(binary.create(image).await? == id, "another id after the kill");
            ensure!(modified(&kept)? == times, "a finished layer was built again");
            binary.verify().await?;
            store::same_content(binary.store(), reference.store())
        };
        outcome
            .await
            .with_context(|| format!("round {round}, killed after {delay:?} of {whole:?}"))?;
        std::fs::remove_dir_all(binary.store())?;
    }
    Ok(())
}

/// Layer images that were finished: a layer exists only if its record does.
fn finished(store: &Path) -> Result<Vec<PathBuf>> {
    let images = store::layer_images(store)?;
    Ok(images
        .into_iter()
        .filter(|image| image.with_extension("json").exists())
        .collect())
}

/// When layer images were written.
fn modified(images: &[PathBuf]) -> Result<Vec<SystemTime>> {
    images.iter().map(|image| Ok(image.metadata()?.modified()?)).collect()
}

/// A number from 0 up to 1 that differs from run to run; the delay that it gave is in the error.
fn random() -> Result<f64> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
