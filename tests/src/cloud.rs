//! A control plane in front of a fake cloud: the real binary with the shipped configuration file, whichever the vendor.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::{CacheView, Fake, Pace};

use crate::binary::Binary;
use crate::context::Context;
use crate::objects::Dialect;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::wait;

/// Where the shipped configuration files are.
const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config");
/// How long each step of a build takes unless a scenario says otherwise.
const STEP: Duration = Duration::from_millis(300);
/// How often the controller looks.
const POLL_INTERVAL: &str = "200ms";

/// What differs from vendor to vendor in what the shared scenarios do and expect.
pub trait Vendor: 'static {
    /// What the fake of the vendor's cloud has of its own.
    type Fake: imagecache_fakes::Vendor;

    /// The provider, and the name of its configuration file.
    const PROVIDER: &'static str;
    /// A word for names of objects.
    const WORD: &'static str;
    /// The vendor's own form of the object.
    const DIALECT: Dialect;
    /// Region of the shipped configuration.
    const REGION: &'static str;
    /// Lines of the shipped configuration that every scenario changes, each `(shipped, wanted)`.
    const CHANGES: &'static [(&'static str, &'static str)];
    /// Lines that keep to a new account's rates, and what an account with [`RATE`] calls of each action a second has.
    const FAST: &'static [(&'static str, &'static str)];
    /// Variables with the addresses of the APIs.
    const ENDPOINTS: &'static [&'static str];
    /// Variables with the id and the secret of a key.
    const KEY: [&'static str; 2];
    /// Variable with the owner of caches.
    const OWNER: &'static str;
    /// The action that deletes.
    const DELETE: &'static str;
    /// Words of the service for a build under way, and how the object shows each in Alibaba's and in Tencent's form.
    const BUILDING: &'static [(&'static str, [&'static str; 2])];
    /// A part of the last event of a build that hangs.
    const LAST_EVENT: &'static str;
    /// A part of the message about a full quota of none.
    const QUOTA: &'static str;
    /// Code for a wrong secret.
    const WRONG_SECRET: &'static str;
    /// Status and code of a refusal for want of permission.
    const DENIED: (u16, &'static str);
    /// Status and code of a refusal while something else is under way.
    const BUSY: (u16, &'static str);
    /// Looks of a process that has just started and may only look yet.
    const LOOKS_AT_START: usize;
    /// How long a new cache may stay unlisted without harm.
    const LAG: Duration;
}

/// Calls of one action a second that an account in its usual state has.
pub const RATE: u32 = 20;

/// A fake cloud, and how to reach it.
pub struct Cloud<V: Vendor> {
    /// The cloud itself, to look at what it was asked or to make it misbehave.
    pub fake: Fake<V::Fake>,
}

impl<V: Vendor> Cloud<V> {
    /// A cloud whose builds take half a second.
    pub async fn start() -> Self {
        let fake = Fake::start().await;
        fake.set_pace(Pace::After {
            preparing: STEP,
            creating: STEP,
        });
        Self { fake }
    }

    /// The shipped configuration with the lines changed that all scenarios change, and some more.
    pub fn config(&self, context: &Context, changes: &[(&str, &str)]) -> Result<PathBuf> {
        let shipped = Path::new(CONFIGS).join(format!("{}.toml", V::PROVIDER));
        context.changed_config(&shipped, &[V::CHANGES, changes].concat())
    }

    /// What the binary must have in its environment to reach this cloud.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let (id, secret) = self.fake.access_key();
        let endpoints = V::ENDPOINTS.iter().map(|name| (*name, self.fake.endpoint()));
        let key = V::KEY.into_iter().zip([id.to_owned(), secret.to_owned()]);
        endpoints.chain(key).collect()
    }

    /// The binary with the shipped configuration and this cloud's address and key.
    pub fn binary(&self, context: &Context) -> Result<Binary> {
        self.binary_with(context, &[])
    }

    /// The binary with the shipped configuration changed in some places, each `(shipped, wanted)`.
    pub fn binary_with(&self, context: &Context, changes: &[(&str, &str)]) -> Result<Binary> {
        let file = self.config(context, changes)?;
        let interval = ("IMAGECACHE_CONTROLLER__POLL_INTERVAL", POLL_INTERVAL.to_owned());
        Ok(context
            .binary()
            .with_config(&file)
            .with_environment(self.environment())
            .with_environment([interval]))
    }

    /// A control plane that keeps its caches here.
    pub async fn plane(&self, context: &Context) -> Result<Plane> {
        self.plane_with(context, &[]).await
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
        let binary = self.binary_with(context, changes)?;
        Plane::start_over(context, binary, &[("IMAGECACHE_CONTROLLER__POLL_INTERVAL", interval)]).await
    }

    /// A name for an object.
    pub fn name(&self, context: &Context, word: &str) -> String {
        context.name(&format!("{}-{word}", V::WORD))
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

    /// Fails if ever more caches were made than these.
    pub fn made(&self, count: usize) -> Result<()> {
        let made = self.fake.creations();
        ensure!(made == count, "{made} caches were made and should be {count}");
        Ok(())
    }
}
