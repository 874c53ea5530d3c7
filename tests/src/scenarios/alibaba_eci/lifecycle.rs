//! From an object to a cache in the cloud and back, with restarts in between.

use anyhow::{Result, ensure};
use imagecache_fakes::eci::Pace;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::spec;
use crate::context::Context;
use crate::eci::Cloud;
use crate::objects::{Dialect, messages};
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

const ALIBABA: Dialect = Dialect::Alibaba;

pub async fn both_dialects_become_ready(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let mut plane = cloud.plane(&context).await?;
    for (dialect, word) in Dialect::ALL {
        let name = context.name(&format!("eci-{word}"));
        plane
            .create(dialect, &name, spec("registry.example.com/app/web:1.2.3"))
            .await?;
        let object = plane.wait_phase(dialect, &name, "Ready").await?;
        let cache = cloud.only_cache()?;
        ensure!(
            dialect.id(&object) == cache.id,
            "{word}: the status names {:?}, the cloud {}",
            dialect.id(&object),
            cache.id
        );
        ensure!(
            cache.images == ["registry.example.com/app/web:1.2.3"],
            "{word}: {:?}",
            cache.images
        );
        ensure!(cache.size == 25, "{word}: {} GiB", cache.size);
        let status = &object.data["status"];
        let expiry = cache.expires_at.unwrap_or_default();
        ensure!(
            status["expireDateTime"] == expiry,
            "{word}: expiry {expiry} is not in {status}"
        );
        let said = messages(&object);
        for event in &cache.events {
            ensure!(
                said.contains(event),
                "{word}: the cloud's event {event:?} is not in {said:?}"
            );
        }
        match dialect {
            Dialect::Alibaba => ensure!(status["progress"] == "100%", "{word}: {status}"),
            Dialect::Tencent => ensure!(
                dialect.status(&object, "snapshotId").starts_with("s-"),
                "{word}: {status}"
            ),
        }
        plane.delete(dialect, &name).await?;
        cloud.wait_caches(0).await?;
    }
    ensure!(
        cloud.fake.creations() == 2,
        "{} caches were made for two objects",
        cloud.fake.creations()
    );
    plane.finish().await
}

pub async fn edited_deleted_and_restarted_at_each_step(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    cloud.fake.set_pace(Pace::Manual);
    let mut plane = cloud.plane(&context).await?;
    let name = context.name("eci-steps");
    plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
    let object = plane.wait_phase(ALIBABA, &name, "Pending").await?;
    ensure!(ALIBABA.status(&object, "progress") == "0%", "{}", object.data["status"]);
    restart(&mut plane).await?;
    wait_id(&plane, &name).await?;
    let first = cloud.only_cache()?;
    cloud.fake.set_status(&first.id, "Creating");
    plane.wait_phase(ALIBABA, &name, "Creating").await?;
    restart(&mut plane).await?;
    cloud.fake.finish_builds();
    let object = plane.wait_phase(ALIBABA, &name, "Ready").await?;
    ensure!(ALIBABA.id(&object) == first.id, "Ready with another id than the first");
    restart(&mut plane).await?;
    ensure!(
        cloud.fake.creations() == 1,
        "a restart made {} caches",
        cloud.fake.creations()
    );

    let edit = json!({ "spec": { "images": ["registry.example.com/app:2"] } });
    let api = ALIBABA.api(plane.client()?);
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&edit)).await?;
    cloud.wait_caches(2).await?;
    restart(&mut plane).await?;
    let object = plane.get(ALIBABA, &name).await?;
    ensure!(
        ALIBABA.id(&object) == first.id,
        "the old cache serves until the new one is Ready"
    );
    cloud.fake.finish_builds();
    cloud.wait_caches(1).await?;
    restart(&mut plane).await?;
    let second = cloud.only_cache()?;
    ensure!(second.images == ["registry.example.com/app:2"], "{:?}", second.images);
    wait::until("the new id in the status", BUILD_LIMIT, async || {
        let id = ALIBABA.id(&plane.get(ALIBABA, &name).await?);
        Ok(if id == second.id { Ok(()) } else { Err(id) })
    })
    .await?;

    let _ = api.delete(&name, &DeleteParams::default()).await?;
    restart(&mut plane).await?;
    plane.delete(ALIBABA, &name).await?;
    cloud.wait_caches(0).await?;
    ensure!(
        cloud.fake.creations() == 2,
        "{} caches were made for two specs",
        cloud.fake.creations()
    );
    plane.finish().await
}

/// Unknown words of the cloud are shown, and an instant cache is Ready before its snapshot is whole.
pub async fn the_clouds_own_words_are_shown(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    cloud.fake.set_pace(Pace::Manual);
    let mut plane = cloud.plane(&context).await?;
    let name = context.name("eci-words");
    plane.create(ALIBABA, &name, spec("registry.example.com/app:1")).await?;
    wait_id(&plane, &name).await?;
    let cache = cloud.only_cache()?;
    for word in ["Hibernating", "Updating", "Ready"] {
        cloud.fake.set_status(&cache.id, word);
        plane.wait_phase(ALIBABA, &name, word).await?;
    }
    plane.delete(ALIBABA, &name).await?;
    cloud.wait_caches(0).await?;
    plane.finish().await
}

/// `kill -9` and start again.
async fn restart(plane: &mut Plane) -> Result<()> {
    plane.kill().await?;
    plane.launch().await
}

async fn wait_id(plane: &Plane, name: &str) -> Result<()> {
    wait::until("an id in the status", BUILD_LIMIT, async || {
        let id = ALIBABA.id(&plane.get(ALIBABA, name).await?);
        Ok(if id.is_empty() { Err(id) } else { Ok(()) })
    })
    .await
}
