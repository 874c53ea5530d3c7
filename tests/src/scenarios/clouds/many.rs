//! Many objects under the account's rate.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};

use super::spec;
use crate::cloud::{Cloud, RATE, Vendor};
use crate::context::Context;
use crate::wait;

/// Memory that the process may take, in MiB.
const MEMORY_LIMIT_MIB: u64 = 150;
/// Between two listings: half of the shipped value, so that a small run is not mostly waiting.
const POLL_INTERVAL: &str = "5s";
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Objects created at once.
const CREATED_AT_ONCE: usize = 16;
pub async fn all_become_ready_within_the_rate<V: Vendor>(context: Context) -> Result<()> {
    let count = context.options.caches;
    let cloud = Cloud::<V>::start().await;
    cloud.fake.set_rate(Some(RATE));
    let mut plane = cloud.plane_that_looks_every(POLL_INTERVAL, &context, V::FAST).await?;
    let api = V::DIALECT.api(plane.client()?);
    futures::stream::iter(0..count)
        .map(|n| {
            let (api, name) = (api.clone(), cloud.name(&context, &format!("many-{n}")));
            async move {
                let object = V::DIALECT.object(&name, spec(&format!("registry.example.com/app:{n}")))?;
                api.create(&PostParams::default(), &object).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(CREATED_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    // Two calls a cache, the listings, and a margin for a busy machine.
    let limit = Duration::from_secs(60) + Duration::from_secs(4 * count as u64) / RATE;
    wait::until(&format!("{count} caches to be Ready"), limit, async || {
        let ready = count_ready::<V>(&api).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(if ready == count {
            Ok(())
        } else {
            Err(format!("{ready} are"))
        })
    })
    .await?;
    let (creates, describes) = (
        cloud.fake.calls("CreateImageCache"),
        cloud.fake.calls("DescribeImageCaches"),
    );
    let lookups = cloud.fake.lookups();
    let memory = plane.peak_memory_mib()?;
    report!(
        "    {count} caches: {creates} creates, {lookups} lookups, {} pages of listings, {memory} MiB at the peak",
        describes - lookups
    );
    let rejections = cloud.fake.rejections();
    ensure!(rejections.is_empty(), "calls were refused: {rejections:?}");
    cloud.made(count)?;
    ensure!(
        creates + lookups <= 2 * count + V::LOOKS_AT_START,
        "{creates} creates and {lookups} lookups for {count} caches"
    );
    ensure!(
        memory < MEMORY_LIMIT_MIB,
        "{memory} MiB at the peak, the limit is {MEMORY_LIMIT_MIB}"
    );
    cloud.fake.set_rate(None);
    for object in api.list(&ListParams::default()).await?.items {
        let name = object.metadata.name.unwrap_or_default();
        let _ = api.delete(&name, &DeleteParams::default()).await?;
    }
    plane.stop().await
}

/// How many objects are Ready, read in pages as kubectl does.
async fn count_ready<V: Vendor>(api: &Api<DynamicObject>) -> Result<usize> {
    let mut params = ListParams::default().limit(PAGE);
    let mut ready = 0;
    loop {
        let page = api.list(&params).await?;
        ready += page
            .items
            .iter()
            .filter(|object| V::DIALECT.phase(object) == "Ready")
            .count();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(ready),
        }
    }
}
