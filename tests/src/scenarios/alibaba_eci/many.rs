//! Many objects under the account's rate.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};

use super::spec;
use crate::context::Context;
use crate::eci::Cloud;
use crate::objects::Dialect;
use crate::wait;

const ALIBABA: Dialect = Dialect::Alibaba;
/// Calls a second that the cloud takes.
const RATE: u32 = 20;
/// Memory that the process may take, in MiB.
const MEMORY_LIMIT_MIB: u64 = 150;
/// Between two listings: half of the shipped value, so that a small run is not mostly waiting.
const POLL_INTERVAL: &str = "5s";
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Objects created at once.
const CREATED_AT_ONCE: usize = 16;
/// The lines of the shipped configuration that keep to a new account's rates, and what an account with `RATE` has.
const CHANGES: [(&str, &str); 4] = [
    ("CreateImageCache = \"200/min\"", "CreateImageCache = \"20/s\""),
    ("DescribeImageCaches = \"10/s\"", "DescribeImageCaches = \"20/s\""),
    ("overall = \"15/s\"", "overall = \"19/s\""),
    ("page_size = 50", "page_size = 100"),
];

pub async fn all_become_ready_within_the_rate(context: Context) -> Result<()> {
    let count = context.options.caches;
    let cloud = Cloud::start().await;
    cloud.fake.set_rate(Some(RATE));
    let mut plane = cloud.plane_that_looks_every(POLL_INTERVAL, &context, &CHANGES).await?;
    let api = ALIBABA.api(plane.client()?);
    futures::stream::iter(0..count)
        .map(|n| {
            let (api, name) = (api.clone(), context.name(&format!("eci-many-{n}")));
            async move {
                let object = ALIBABA.object(&name, spec(&format!("registry.example.com/app:{n}")))?;
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
        let ready = count_ready(&api).await?;
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
    ensure!(
        cloud.fake.rejected("Throttling") == 0,
        "{} calls came too fast",
        cloud.fake.rejected("Throttling")
    );
    ensure!(
        cloud.fake.creations() == count,
        "{} caches were made",
        cloud.fake.creations()
    );
    ensure!(
        creates + lookups <= 2 * count,
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
async fn count_ready(api: &Api<DynamicObject>) -> Result<usize> {
    let mut params = ListParams::default().limit(PAGE);
    let mut ready = 0;
    loop {
        let page = api.list(&params).await?;
        ready += page
            .items
            .iter()
            .filter(|object| ALIBABA.phase(object) == "Ready")
            .count();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(ready),
        }
    }
}
