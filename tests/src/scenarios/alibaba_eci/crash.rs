//! `kill -9` between the call that makes a cache and the write of its id: never a second billed cache, never an orphan.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use imagecache_fakes::eci::Fault;

use super::spec;
use crate::context::Context;
use crate::eci::Cloud;
use crate::objects::Dialect;
use crate::plane::BUILD_LIMIT;

const ALIBABA: Dialect = Dialect::Alibaba;
/// How long a new cache stays unlisted in every third round: the cloud's own view of itself may lag.
const LAG: Duration = Duration::from_secs(2);

pub async fn killed_between_create_and_status(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let mut plane = cloud.plane(&context).await?;
    for round in 0..context.options.rounds {
        // Each third: killed while the answer is on its way; right after the effect; the same with a cloud that lags.
        match round % 3 {
            0 => cloud.fake.inject("CreateImageCache", Fault::NoAnswer, 1),
            1 => cloud.fake.set_visibility_lag(Duration::ZERO),
            _ => cloud.fake.set_visibility_lag(LAG),
        }
        let before = cloud.fake.creations();
        let name = context.name(&format!("eci-killed-{round}"));
        plane
            .create(ALIBABA, &name, spec(&format!("registry.example.com/app:{round}")))
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
        let id = ALIBABA.id(&plane.wait_phase(ALIBABA, &name, "Ready").await?);
        ensure!(
            cloud.only_cache()?.id == id,
            "round {round}: the status names another cache than the billed one"
        );
        ensure!(
            cloud.fake.creations() == before + 1,
            "round {round}: a second cache was made"
        );
        plane.delete(ALIBABA, &name).await?;
        cloud.wait_caches(0).await?;
    }
    plane.finish().await
}
