//! What happens to an object between its creation and its end.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::mounts::{Mounted, is_mounted};
use crate::objects::Dialect;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::registry::Registry;
use crate::scenarios::images;
use crate::{compare, layer, store, wait};

const ALIBABA: Dialect = Dialect::Alibaba;

pub async fn deleted_while_building(context: Context) -> Result<()> {
    let registry = Registry::of(&[("heavy", images::heavy(11, 3, 24)?)]).await?;
    let mut plane = Plane::start(&context).await?;
    let name = context.name("deleted");
    for _ in 0..context.options.rounds {
        plane
            .create(ALIBABA, &name, json!({ "images": [registry.image("heavy")] }))
            .await?;
        wait::until("the build to have begun", BUILD_LIMIT, async || {
            let phase = ALIBABA.phase(&plane.get(ALIBABA, &name).await?);
            Ok(if phase == "Creating" || phase == "Ready" {
                Ok(())
            } else {
                Err(phase)
            })
        })
        .await?;
        plane.delete(ALIBABA, &name).await?;
        let store_path = context.binary().store().to_owned();
        wait::until("the build's files to be gone", BUILD_LIMIT, async || {
            let left: Vec<_> = ["layers", "patches", "snapshots", "caches"]
                .iter()
                .flat_map(|part| store::files(&store_path.join(part)).unwrap_or_default().into_keys())
                .collect();
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            })
        })
        .await?;
    }
    plane.finish().await
}

pub async fn changed_spec_builds_anew(context: Context) -> Result<()> {
    let registry = Registry::of(&[("small", images::small()?), ("basic", images::basic()?)]).await?;
    let mut plane = Plane::start(&context).await?;
    let name = context.name("changed");
    plane
        .create(ALIBABA, &name, json!({ "images": [registry.image("small")] }))
        .await?;
    let before = ALIBABA.id(&plane.wait_phase(ALIBABA, &name, "Ready").await?);
    let patch = json!({ "spec": { "images": [registry.image("basic")] } });
    let api = ALIBABA.api(plane.client()?);
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    let after = wait::until("the new cache to be Ready", BUILD_LIMIT, async || {
        let object = plane.get(ALIBABA, &name).await?;
        let (id, phase) = (ALIBABA.id(&object), ALIBABA.phase(&object));
        Ok(if id != before && phase == "Ready" {
            Ok(id)
        } else {
            Err(format!("{id} {phase}"))
        })
    })
    .await?;
    let binary = context.binary();
    binary.run(&["verify", &after]).await?;
    wait::until("the old cache to be gone", BUILD_LIMIT, async || {
        let output = binary.output(&["get", &before]).await?;
        Ok(if output.code == Some(0) {
            Err(output.stdout)
        } else {
            Ok(())
        })
    })
    .await?;
    plane.finish().await
}

pub async fn restarted_at_any_moment(context: Context) -> Result<()> {
    let registry = Registry::of(&[("heavy", images::heavy(12, 3, 16)?)]).await?;
    let mut plane = Plane::start(&context).await?;
    for round in 0..context.options.rounds {
        let name = context.name(&format!("restarted-{round}"));
        plane
            .create(ALIBABA, &name, json!({ "images": [registry.image("heavy")] }))
            .await?;
        // Spread over the build: the first comes at once, the last when it may be over.
        tokio::time::sleep(Duration::from_millis(150) * round).await;
        plane.kill().await?;
        plane.launch().await?;
        let id = ALIBABA.id(&plane.wait_phase(ALIBABA, &name, "Ready").await?);
        context.binary().run(&["verify", &id]).await?;
        plane.delete(ALIBABA, &name).await?;
    }
    plane.finish().await?;
    store::nothing_unfinished(context.binary().store())
}

pub async fn state_survives_a_restart(context: Context) -> Result<()> {
    let registry = Registry::of(&[("small", images::small()?)]).await?;
    let mut plane = Plane::start(&context).await?;
    let name = context.name("survives");
    plane
        .create(ALIBABA, &name, json!({ "images": [registry.image("small")] }))
        .await?;
    let before = plane.wait_phase(ALIBABA, &name, "Ready").await?;
    plane.stop().await?;
    plane.launch().await?;
    let after = plane.wait_phase(ALIBABA, &name, "Ready").await?;
    ensure!(after.metadata.uid == before.metadata.uid, "another object came back");
    ensure!(
        ALIBABA.id(&after) == ALIBABA.id(&before),
        "the object has another cache after a restart"
    );
    ensure!(
        after.metadata.creation_timestamp == before.metadata.creation_timestamp,
        "its age changed"
    );
    plane.finish().await
}

pub async fn delete_leaves_a_mount_alone(context: Context) -> Result<()> {
    let content = layer::noise(5, 3 << 20);
    let mut one = layer::Layer::new();
    one.dir("data")?.file("data/file", &content)?;
    let registry = Registry::of(&[("mounted", [one.finish()?])]).await?;
    let mut plane = Plane::start(&context).await?;
    let (name, image) = (context.name("mounted"), registry.image("mounted"));
    plane.create(ALIBABA, &name, json!({ "images": [image] })).await?;
    let id = ALIBABA.id(&plane.wait_phase(ALIBABA, &name, "Ready").await?);

    let (binary, volume, root) = (context.binary(), context.subdir("volume")?, context.subdir("root")?);
    binary.run(&["mount", &id, &volume.to_string_lossy()]).await?;
    let volume = Mounted::adopt(&volume);
    binary
        .run(&["mount", &id, &root.to_string_lossy(), "--image", &image])
        .await?;
    let root = Mounted::adopt(&root);
    let listing = store::files(volume.path())?;
    ensure!(
        listing.keys().any(|path| path.ends_with("index.json")),
        "the volume has no OCI layout: {listing:?}"
    );

    plane.delete(ALIBABA, &name).await?;
    std::fs::write("/proc/sys/vm/drop_caches", "3").ok();
    ensure!(
        std::fs::read(root.path().join("data/file"))? == content,
        "the mounted image changed after the delete"
    );
    ensure!(
        store::files(volume.path())? == listing,
        "the mounted volume changed after the delete"
    );
    for mounted in [&root, &volume] {
        binary.run(&["umount", &mounted.path().to_string_lossy()]).await?;
        ensure!(
            !is_mounted(mounted.path()),
            "umount left {} mounted",
            mounted.path().display()
        );
    }
    // An empty tree equals an empty tree: nothing of the mounts is left in the directories.
    let empty = context.subdir("empty")?;
    compare::same_tree(
        ("the mount point", root.path()),
        ("an empty directory", &empty),
        compare::Rules::EXACT,
    )?;
    plane.finish().await
}
