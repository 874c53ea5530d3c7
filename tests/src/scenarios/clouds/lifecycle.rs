//! From an object to a cache in the cloud and back, with restarts in between.

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::Pace;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::spec;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::objects::{Dialect, messages};
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

pub async fn both_dialects_become_ready<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let mut plane = cloud.plane(&context).await?;
    for (dialect, word) in Dialect::ALL {
        let name = cloud.name(&context, word);
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
        let expiry = cache.expires_at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        ensure!(
            status["expireDateTime"] == json!(expiry),
            "{word}: expiry {expiry:?} is not in {status}"
        );
        ensure!(
            status["snapshotId"] == json!(cache.snapshot),
            "{word}: snapshot {:?} is not in {status}",
            cache.snapshot
        );
        let said = messages(&object);
        for event in &cache.events {
            ensure!(
                said.contains(event),
                "{word}: the cloud's event {event:?} is not in {said:?}"
            );
        }
        ensure!(
            dialect == Dialect::Tencent || status["progress"] == "100%",
            "{word}: {status}"
        );
        plane.delete(dialect, &name).await?;
        cloud.wait_caches(0).await?;
    }
    cloud.made(2)?;
    plane.finish().await
}

pub async fn edited_deleted_and_restarted_at_each_step<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    cloud.fake.set_pace(Pace::Manual);
    let mut plane = cloud.plane(&context).await?;
    for (dialect, word) in Dialect::ALL {
        let name = cloud.name(&context, &format!("steps-{word}"));
        one_life(&cloud, &mut plane, dialect, &name).await.context(word)?;
    }
    plane.finish().await
}

/// Makes two caches.
async fn one_life<V: Vendor>(cloud: &Cloud<V>, plane: &mut Plane, dialect: Dialect, name: &str) -> Result<()> {
    let before = cloud.fake.creations();
    plane.create(dialect, name, spec("registry.example.com/app:1")).await?;
    let object = plane.wait_phase(dialect, name, "Pending").await?;
    ensure!(
        dialect == Dialect::Tencent || dialect.status(&object, "progress") == "0%",
        "{}",
        object.data["status"]
    );
    restart(plane).await?;
    wait_id(plane, dialect, name).await?;
    let first = cloud.only_cache()?;
    for (word, [alibaba, tencent]) in V::BUILDING {
        cloud.fake.set_status(&first.id, word);
        let shown = match dialect {
            Dialect::Alibaba => alibaba,
            Dialect::Tencent => tencent,
        };
        plane.wait_phase(dialect, name, shown).await?;
        restart(plane).await?;
    }
    cloud.fake.finish_builds();
    let object = plane.wait_phase(dialect, name, "Ready").await?;
    ensure!(dialect.id(&object) == first.id, "Ready with another id than the first");
    restart(plane).await?;
    cloud.made(before + 1)?;

    let edit = json!({ "spec": { "images": ["registry.example.com/app:2"] } });
    let api = dialect.api(plane.client()?);
    api.patch(name, &PatchParams::default(), &Patch::Merge(&edit)).await?;
    cloud.wait_caches(2).await?;
    restart(plane).await?;
    let object = plane.get(dialect, name).await?;
    ensure!(
        dialect.id(&object) == first.id,
        "the old cache serves until the new one is Ready"
    );
    cloud.fake.finish_builds();
    cloud.wait_caches(1).await?;
    restart(plane).await?;
    let second = cloud.only_cache()?;
    ensure!(second.images == ["registry.example.com/app:2"], "{:?}", second.images);
    wait::until("the new id in the status", BUILD_LIMIT, async || {
        let id = dialect.id(&plane.get(dialect, name).await?);
        Ok(if id == second.id { Ok(()) } else { Err(id) })
    })
    .await?;

    let _ = api.delete(name, &DeleteParams::default()).await?;
    restart(plane).await?;
    plane.delete(dialect, name).await?;
    cloud.wait_caches(0).await?;
    cloud.made(before + 2)
}

/// Unknown words of the cloud are shown as they are.
pub async fn the_clouds_own_words_are_shown<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    cloud.fake.set_pace(Pace::Manual);
    let mut plane = cloud.plane(&context).await?;
    for (dialect, word) in Dialect::ALL {
        let name = cloud.name(&context, &format!("words-{word}"));
        plane.create(dialect, &name, spec("registry.example.com/app:1")).await?;
        wait_id(&plane, dialect, &name).await?;
        let cache = cloud.only_cache()?;
        for word in ["Hibernating", "Updating", "Ready"] {
            cloud.fake.set_status(&cache.id, word);
            plane.wait_phase(dialect, &name, word).await?;
        }
        plane.delete(dialect, &name).await?;
        cloud.wait_caches(0).await?;
    }
    plane.finish().await
}

/// `kill -9` and start again.
async fn restart(plane: &mut Plane) -> Result<()> {
    plane.kill().await?;
    plane.launch().await
}

async fn wait_id(plane: &Plane, dialect: Dialect, name: &str) -> Result<()> {
    wait::until("an id in the status", BUILD_LIMIT, async || {
        let id = dialect.id(&plane.get(dialect, name).await?);
        Ok(if id.is_empty() { Err(id) } else { Ok(()) })
    })
    .await
}
