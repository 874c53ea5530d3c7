//! Several processes over one store.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::context::Context;
use crate::registry::Registry;
use crate::scenarios::images;
use crate::store;

pub async fn two_processes_build_one_image(context: Context) -> Result<()> {
    let registry = Registry::of(&[("heavy", images::heavy(51, 4, 12)?)]).await?;
    let image = registry.image("heavy");
    let reference = context.binary_over(&context.dir.join("reference"));
    let id = reference.create(&image).await?;
    let binary = context.binary();
    let (first, second) = futures::future::join(binary.create(&image), binary.create(&image)).await;
    let (first, second) = (
        first.context("the first process")?,
        second.context("the second process")?,
    );
    ensure!(
        first == id && second == id,
        "one image gave {first} and {second}, alone it gives {id}"
    );
    binary.verify().await?;
    store::same_content(binary.store(), reference.store())
}

pub async fn deletes_race_builds(context: Context) -> Result<()> {
    let layers = images::heavy(52, 3, 8)?;
    // Shares a layer with the victim: deleting the one must not take it from the other.
    let registry = Registry::of(&[("victim", &layers[..]), ("bystander", &layers[..1])]).await?;
    let binary = context.binary();
    let bystander = binary.create(&registry.image("bystander")).await?;
    let image = registry.image("victim");
    let victim = binary.create(&image).await?;
    for round in 0..context.options.rounds {
        let delay = Duration::from_millis(60) * round;
        let delete = async {
            tokio::time::sleep(delay).await;
            binary.run(&["delete", &victim]).await
        };
        let (created, deleted) = futures::future::join(binary.output(&["create", "--wait", &image]), delete).await;
        let created = created?;
        deleted.with_context(|| format!("round {round}: delete"))?;
        // The delete may have come first or last; a build that was deleted under way must say so, not end in a wrong cache.
        ensure!(
            created.code.is_some(),
            "round {round}: create was killed: {}",
            created.stderr
        );
        binary
            .verify()
            .await
            .with_context(|| format!("round {round}, delete after {delay:?}"))?;
        binary
            .run(&["verify", &bystander])
            .await
            .with_context(|| format!("round {round}: the other cache"))?;
    }
    let id = binary.create(&image).await?;
    ensure!(id == victim, "another id after the deletes");
    binary.verify().await?;
    for id in [&victim, &bystander] {
        binary.run(&["delete", id]).await?;
    }
    let left = store::layer_images(binary.store())?;
    ensure!(left.is_empty(), "with every cache deleted, {left:?} is left");
    store::nothing_unfinished(binary.store())
}
