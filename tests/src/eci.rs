//! A control plane in front of a fake ECI: the real binary with the shipped configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::eci::{CacheView, FakeEci, Pace};

use crate::binary::Binary;
use crate::context::Context;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

/// The file that is deployed.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/alibaba-eci.toml");
/// How long each step of a build takes unless a scenario says otherwise.
const STEP: Duration = Duration::from_millis(300);
/// How often the controller looks.
const POLL_INTERVAL: &str = "200ms";

/// A fake cloud, and how to reach it.
pub struct Cloud {
    /// The cloud itself, to look at what it was asked or to make it misbehave.
    pub fake: FakeEci,
}

impl Cloud {
    /// A cloud whose builds take half a second.
    pub async fn start() -> Self {
        let fake = FakeEci::start().await;
        fake.set_pace(Pace::After {
            preparing: STEP,
            creating: STEP,
        });
        Self { fake }
    }

    /// The binary with the shipped configuration and this cloud's address and key.
    pub fn binary(&self, context: &Context) -> Binary {
        self.binary_with(context, Path::new(CONFIG))
    }

    /// The binary with another configuration file.
    pub fn binary_with(&self, context: &Context, config: &Path) -> Binary {
        let (id, secret) = self.fake.access_key();
        context.binary().with_config(config).with_environment([
            ("IMAGECACHE_ALIBABA_ECI__ENDPOINT", self.fake.endpoint()),
            ("IMAGECACHE_ALIBABA_ECI__VPC_ENDPOINT", self.fake.endpoint()),
            ("IMAGECACHE_CONTROLLER__POLL_INTERVAL", POLL_INTERVAL.to_owned()),
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", id.to_owned()),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret.to_owned()),
        ])
    }

    /// A control plane that keeps its caches here.
    pub async fn plane(&self, context: &Context) -> Result<Plane> {
        Plane::start_over(context, self.binary(context), &[]).await
    }

    /// A control plane with the shipped configuration changed in some places, each `(shipped, wanted)`.
    pub async fn plane_with(&self, context: &Context, changes: &[(&str, &str)]) -> Result<Plane> {
        self.plane_that_looks_every(POLL_INTERVAL, context, changes).await
    }

    /// The same, with its own time between two listings.
    pub async fn plane_that_looks_every(
        &self,
        interval: &str,
        context: &Context,
        changes: &[(&str, &str)],
    ) -> Result<Plane> {
        let file = changed_config(context, changes)?;
        let binary = self.binary_with(context, &file);
        Plane::start_over(context, binary, &[("IMAGECACHE_CONTROLLER__POLL_INTERVAL", interval)]).await
    }

    /// The only cache that is billed.
    pub fn only_cache(&self) -> Result<CacheView> {
        let mut caches = self.fake.caches();
        ensure!(
            caches.len() == 1,
            "{} caches are billed and should be one: {caches:?}",
            caches.len()
        );
        caches.pop().context("no cache")
    }

    /// Waits until exactly these many caches are billed.
    pub async fn wait_caches(&self, count: usize) -> Result<()> {
        wait::until(&format!("{count} billed caches"), BUILD_LIMIT, async || {
            let names: Vec<_> = self.fake.caches().into_iter().map(|cache| cache.name).collect();
            Ok(if names.len() == count {
                Ok(())
            } else {
                Err(format!("{names:?}"))
            })
        })
        .await
    }
}

/// The shipped configuration with some lines changed, in the scenario's directory.
pub fn changed_config(context: &Context, changes: &[(&str, &str)]) -> Result<PathBuf> {
    context.changed_config(Path::new(CONFIG), changes)
}
