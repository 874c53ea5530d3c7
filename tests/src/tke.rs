//! A control plane in front of a fake TKE: the real binary with the shipped configuration file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::tke::{CacheView, FakeTke, Pace};

use crate::binary::Binary;
use crate::context::Context;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

/// The file that is deployed.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/tencent-eks.toml");
/// A process that has just started creates nothing before this is over.
const LISTING_LAG: (&str, &str) = ("listing_lag = \"30s\"", "listing_lag = \"1s\"");
/// How long each half of a build takes.
const STEP: Duration = Duration::from_millis(300);
/// How often the controller looks.
const POLL_INTERVAL: &str = "200ms";

/// A fake cloud, and how to reach it.
pub struct Cloud {
    /// The cloud itself, to look at what it was asked or to make it misbehave.
    pub fake: FakeTke,
}

impl Cloud {
    /// A cloud whose builds take half a second.
    pub async fn start() -> Self {
        let fake = FakeTke::start().await;
        fake.set_pace(Pace::After {
            preparing: STEP,
            creating: STEP,
        });
        Self { fake }
    }

    /// The binary with the shipped configuration, a shorter lag, and this cloud's address and key.
    pub fn binary(&self, context: &Context) -> Result<Binary> {
        let file = context.changed_config(Path::new(CONFIG), &[LISTING_LAG])?;
        let (id, secret) = self.fake.access_key();
        Ok(context.binary().with_config(&file).with_environment([
            ("IMAGECACHE_TENCENT_EKS__ENDPOINT", self.fake.endpoint()),
            ("IMAGECACHE_CONTROLLER__POLL_INTERVAL", POLL_INTERVAL.to_owned()),
            ("TENCENTCLOUD_SECRET_ID", id.to_owned()),
            ("TENCENTCLOUD_SECRET_KEY", secret.to_owned()),
        ]))
    }

    /// A control plane that keeps its caches here.
    pub async fn plane(&self, context: &Context) -> Result<Plane> {
        Plane::start_over(context, self.binary(context)?, &[]).await
    }

    /// The only cache that is billed.
    pub fn only_cache(&self) -> Result<CacheView> {
        let mut caches = self.fake.caches();
        ensure!(
            caches.len() == 1,
            "{} caches are billed and should be one",
            caches.len()
        );
        caches.pop().context("no cache")
    }

    /// Waits until nothing is billed.
    pub async fn wait_empty(&self) -> Result<()> {
        wait::until("no billed cache", BUILD_LIMIT, async || {
            let names: Vec<_> = self.fake.caches().into_iter().map(|cache| cache.name).collect();
            Ok(if names.is_empty() {
                Ok(())
            } else {
                Err(format!("{names:?}"))
            })
        })
        .await
    }
}
