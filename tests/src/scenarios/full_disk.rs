//! A disk that is full, and then is not.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::context::Context;
use crate::mounts;
use crate::objects::{Dialect, messages};
use crate::plane::{BUILD_LIMIT, Plane};
use crate::registry::Registry;
use crate::scenarios::images;
use crate::{store, wait};

/// Size of the filesystem.
const DISK_MIB: u64 = 96;

/// What is left free at first: one layer of the image fits, the image does not.
const LEFT_MIB: u64 = 24;

const ALIBABA: Dialect = Dialect::Alibaba;

pub async fn completes_once_there_is_room(context: Context) -> Result<()> {
    let registry = Registry::of(&[("heavy", images::heavy(41, 3, 16)?)]).await?;
    let disk = mounts::small_filesystem(&context.dir, DISK_MIB).await?;
    let filler = disk.path().join("filler");
    let fill = mounts::free_bytes(disk.path())?.saturating_sub(LEFT_MIB << 20);
    let file = std::fs::File::create(&filler)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, fill)?;
    drop(file);

    let binary = context.binary_over(&disk.path().join("store"));
    let mut plane = Plane::start_over(&context, binary.clone(), &[]).await?;
    let name = context.name("full");
    plane
        .create(ALIBABA, &name, json!({ "images": [registry.image("heavy")] }))
        .await?;
    wait::until("the status to say that the disk is full", BUILD_LIMIT, async || {
        let object = plane.get(ALIBABA, &name).await?;
        let said = messages(&object).join(" | ").to_lowercase();
        Ok(if said.contains("space") || said.contains("full") {
            Ok(())
        } else {
            Err(object.data["status"].to_string())
        })
    })
    .await?;

    std::fs::remove_file(&filler)?;
    let what = "the cache to complete now that there is room";
    let id = wait::until(what, BUILD_LIMIT, async || {
        let object = plane.get(ALIBABA, &name).await?;
        let phase = ALIBABA.phase(&object);
        Ok(if phase == "Ready" {
            Ok(ALIBABA.id(&object))
        } else {
            Err(format!("{phase} {:?}", messages(&object)))
        })
    })
    .await?;
    binary.run(&["verify", &id]).await?;
    ensure!(
        store::layer_images(binary.store())?.len() == 3,
        "not every layer is there"
    );
    plane.delete(ALIBABA, &name).await?;
    plane.finish().await?;
    store::nothing_unfinished(binary.store())
}
