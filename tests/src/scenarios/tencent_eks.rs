//! The provider `tencent-eks` against a fake of the cloud that checks every signature.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use imagecache_fakes::tke::Fault;
use serde_json::{Value, json};

use crate::context::Context;
use crate::objects::Dialect;
use crate::plane::BUILD_LIMIT;
use crate::scenarios::command_line::is_vendor_id;
use crate::tke::Cloud;

const TENCENT: Dialect = Dialect::Tencent;

fn spec(image: &str) -> Value {
    json!({ "images": [image], "imageCacheSize": 25, "retentionDays": 7 })
}

pub async fn both_dialects_become_ready(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let mut plane = cloud.plane(&context).await?;
    for (dialect, word) in Dialect::ALL {
        let name = context.name(&format!("tke-{word}"));
        plane
            .create(dialect, &name, spec("ccr.ccs.tencentyun.com/team/app:v1"))
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
            cache.images == ["ccr.ccs.tencentyun.com/team/app:v1"],
            "{word}: {:?}",
            cache.images
        );
        ensure!(cache.size == 25, "{word}: {} GiB", cache.size);
        plane.delete(dialect, &name).await?;
        cloud.wait_empty().await?;
    }
    ensure!(
        cloud.fake.creations() == 2,
        "{} caches were made for two objects",
        cloud.fake.creations()
    );
    plane.finish().await
}

/// There is no idempotency token: every call makes another cache.
pub async fn killed_between_create_and_status(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let mut plane = cloud.plane(&context).await?;
    for round in 0..context.options.rounds {
        if round % 2 == 0 {
            cloud.fake.inject("CreateImageCache", Fault::NoAnswer, 1);
        }
        let before = cloud.fake.creations();
        let name = context.name(&format!("tke-killed-{round}"));
        plane
            .create(
                TENCENT,
                &name,
                spec(&format!("ccr.ccs.tencentyun.com/team/app:{round}")),
            )
            .await?;
        let start = Instant::now();
        while cloud.fake.creations() == before {
            if start.elapsed() > BUILD_LIMIT {
                bail!("round {round}: no create call within {BUILD_LIMIT:?}");
            }
            tokio::task::yield_now().await;
        }
        plane.kill().await?;
        plane.launch().await?;
        let id = TENCENT.id(&plane.wait_phase(TENCENT, &name, "Ready").await?);
        ensure!(
            cloud.only_cache()?.id == id,
            "round {round}: the status names another cache than the billed one"
        );
        ensure!(
            cloud.fake.creations() == before + 1,
            "round {round}: a second cache was made"
        );
        plane.delete(TENCENT, &name).await?;
        cloud.wait_empty().await?;
    }
    plane.finish().await
}

pub async fn create_get_list_delete(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let binary = cloud.binary(&context)?;
    let id = binary.create("ccr.ccs.tencentyun.com/team/app:v1").await?;
    ensure!(is_vendor_id(&id), "create printed {id:?}");
    let listed = binary.json(&["list"]).await?.to_string();
    ensure!(listed.contains(&id) && listed.contains("Ready"), "list: {listed}");
    let got = binary.json(&["get", &id]).await?.to_string();
    ensure!(got.contains(&id), "get: {got}");
    binary.run(&["delete", &id]).await?;
    ensure!(cloud.fake.caches().is_empty(), "the cache is still billed");
    Ok(())
}
