//! Public addresses (EIPs) made for builds, and removed after them: `auto-create-eip` with the VPC API (2016-04-28).
//!
//! `CreateImageCache` takes the id of an address and cannot make one, so this does: [`Addresses::obtain`] before a build,
//! [`Addresses::sweep`] with every list of caches.
//!
//! **Invariant:** what is known of an address is in the address. It carries the same tags as caches do, with owner and key,
//! from the call that makes it; there is no moment at which it exists without them. So after a crash at any point, an address
//! either was never made, or is found by its mark: by `obtain`, which uses it for the same key instead of making a second
//! one, or by `sweep`, which releases it when no build needs it. A lost answer is covered by the call's token: the call
//! repeated within [`TOKEN_WINDOW`] gives the same address. Were two made for one key after all, both carry the key, and both
//! are released with it.
//!
//! The other way round, an address that a build is about to use must not be released: for a while after it was made or
//! obtained it is left alone, since a cache that was just begun may be missing in the list ([`verdict`]). Released is only
//! what is `Available`; what is still attached is left for the next sweep. What has not our mark is never touched.
//!
//! In memory is only what saves calls: whether there may be any address of ours, so that who never asks for one pays one call
//! at start and none later.
//!
//! The RAM permissions are `vpc:AllocateEipAddress`, `vpc:DescribeEipAddresses` and `vpc:ReleaseEipAddress`; with a bandwidth
//! package also `vpc:AddCommonBandwidthPackageIp` and `vpc:RemoveCommonBandwidthPackageIp`.

#[cfg(test)]
mod tests;
mod verdict;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imagecache_cloud_http::Client;
use imagecache_core::{AlibabaResources, CacheKey, Clock, Error, ErrorKind, PublicAddress, Result};
use jiff::{SignedDuration, Timestamp};

pub(crate) use verdict::BuildState;

use self::verdict::{Age, choose, verdict};
use self::wire::{Address, VpcClient};
use crate::NAME;
use crate::error::ApiError;
use crate::mark::Mark;
use crate::protocol::Acs3;

/// For so long the same call gives the same address. Long enough for every repetition of a call and for an address to appear
/// in the list; short enough that a key which is deleted and made again is not given the address that was released.
const TOKEN_WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// Longest time for one sweep: the list of caches waits for it. What is left is done by the next one.
const SWEEP_LIMIT: Duration = Duration::from_secs(20);
/// How long to leave the service alone that cannot be asked, where nobody has asked for an address.
const IDLE_WAIT: SignedDuration = SignedDuration::from_mins(10);

/// Public addresses made for builds.
pub(crate) struct Addresses {
    vpc: VpcClient,
    mark: Mark,
    clock: Clock,
    attention: Mutex<Attention>,
    /// One sweep at a time: two would release the same addresses.
    sweeping: tokio::sync::Mutex<()>,
}

/// What saves calls.
#[derive(Debug)]
struct Attention {
    /// Whether there may be an address of ours.
    needed: bool,
    /// Whether this process ever asked for one.
    used: bool,
    /// Before this time there is no looking.
    not_before: Timestamp,
    /// When addresses were obtained for builds that no list has shown yet.
    held: BTreeMap<CacheKey, Timestamp>,
}

impl Addresses {
    /// Addresses in `region`, marked as caches are.
    pub(crate) fn new(client: Arc<Client<Acs3>>, region: String, mark: Mark, clock: Clock) -> Self {
        Self {
            vpc: VpcClient::new(client, region),
            mark,
            clock,
            attention: Mutex::new(Attention {
                // An earlier process may have left some.
                needed: true,
                used: false,
                not_before: Timestamp::MIN,
                held: BTreeMap::new(),
            }),
            sweeping: tokio::sync::Mutex::new(()),
        }
    }

    /// Id of the address for the build of `key`: the one that is there, or a new one. The caller asks for one key at a time.
    pub(crate) async fn obtain(
        &self,
        key: &CacheKey,
        attempt: u32,
        address: &PublicAddress,
        resources: &AlibabaResources,
    ) -> Result<String> {
        // Before the first call: from here on a sweep leaves the key's addresses alone.
        {
            let mut attention = self.attention();
            attention.needed = true;
            attention.used = true;
            attention.not_before = Timestamp::MIN;
            attention.held.insert(key.clone(), (self.clock)());
        }
        let ours = self.ours(Some(key)).await?;
        let chosen = match choose(ours.into_iter().map(|(_, address)| address).collect(), attempt) {
            Some(found) => found,
            None => self.allocate(key, attempt, address, resources).await?,
        };
        if let Some(package) = &resources.bandwidth_package_id
            && chosen.bandwidth_package_id.as_ref() != Some(package)
        {
            self.vpc.join_package(package, &chosen.id).await?;
        }
        Ok(chosen.id)
    }

    async fn allocate(
        &self,
        key: &CacheKey,
        attempt: u32,
        address: &PublicAddress,
        resources: &AlibabaResources,
    ) -> Result<Address> {
        let request = wire::Allocate {
            key,
            address,
            resource_group_id: resources.resource_group_id.as_deref(),
            tags: wire::tags(&self.mark, key, attempt),
            window: (self.clock)().as_second() / TOKEN_WINDOW.as_secs(),
        };
        let id = self.vpc.allocate(&request).await?;
        tracing::info!(%key, address = id, "made a public address for a build");
        // The cloud may remember the token of an address that is gone: that one is not passed on.
        let found = self.vpc.describe(&id).await?;
        found.ok_or_else(|| {
            let message = format!("the public address `{id}` for the build is not listed yet");
            Error::new(ErrorKind::Conflict, NAME, wire::ALLOCATE, message)
        })
    }

    /// Releases addresses of ours whose build is over. `caches` are all of ours that were just listed.
    ///
    /// Problems are logged and tried again with the next sweep: they say nothing about the caches.
    pub(crate) async fn sweep(&self, caches: &BTreeMap<CacheKey, BuildState>) {
        if !self.attention().is_due((self.clock)()) {
            return;
        }
        // Whoever is at it already does it for us too; what it cannot know yet is for the next list.
        let Ok(_alone) = self.sweeping.try_lock() else { return };
        // Nothing is lost when it ends early: what is done is done in the cloud.
        if tokio::time::timeout(SWEEP_LIMIT, self.sweep_now(caches)).await.is_err() {
            tracing::warn!("looking after public addresses takes too long, going on with the next list");
            self.attention().rest((self.clock)());
        }
    }

    async fn sweep_now(&self, caches: &BTreeMap<CacheKey, BuildState>) {
        let ours = match self.ours(None).await {
            Ok(ours) => ours,
            Err(error) => return self.not_listed(&error),
        };
        let now = (self.clock)();
        // What is being released is looked at once more, too.
        let any = !ours.is_empty();
        for (key, address) in ours {
            let build = caches.get(&key).copied();
            let age = self.age(&key, &address, build, now);
            if !verdict(build, &address.status, age) {
                continue;
            }
            match self.release(&address).await {
                Ok(()) => {
                    tracing::info!(%key, address = address.id, "released the public address of a build that is over")
                }
                Err(error) => tracing::warn!(
                    %key,
                    address = address.id,
                    error = &error as &dyn std::error::Error,
                    "a public address of ours is not released yet, trying again"
                ),
            }
        }
        let mut attention = self.attention();
        attention
            .held
            .retain(|_, since| !verdict::hold_is_over(now.duration_since(*since)));
        attention.needed = any || !attention.held.is_empty();
    }

    fn not_listed(&self, error: &ApiError) {
        let mut attention = self.attention();
        if attention.used {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "public addresses of ours cannot be listed; those of finished builds stay until they can"
            );
        } else {
            // Nobody asks for addresses here, and whoever made one was allowed to list it.
            attention.needed = error.kind() != ErrorKind::PermissionDenied;
            attention.rest((self.clock)());
            tracing::debug!(
                error = error as &dyn std::error::Error,
                "whether there are public addresses of ours is not known"
            );
        }
    }

    async fn release(&self, address: &Address) -> Result<(), ApiError> {
        if let Some(package) = &address.bandwidth_package_id {
            self.vpc.leave_package(package, &address.id).await?;
        }
        self.vpc.release(&address.id).await
    }

    /// How long ago the address was made and obtained. A build that the list shows needs no holding any more.
    fn age(&self, key: &CacheKey, address: &Address, build: Option<BuildState>, now: Timestamp) -> Age {
        let mut attention = self.attention();
        if build == Some(BuildState::Running) {
            attention.held.remove(key);
        }
        Age {
            obtained: attention.held.get(key).map(|since| now.duration_since(*since)),
            made: address.made_at.map(|made| now.duration_since(made)),
        }
    }

    /// The addresses that carry our very own mark, of one key or of all.
    async fn ours(&self, key: Option<&CacheKey>) -> Result<Vec<(CacheKey, Address)>, ApiError> {
        let listed = self.vpc.list(&wire::filter(&self.mark, key)).await?;
        let marked = listed
            .into_iter()
            .filter_map(|address| Some((wire::key(&self.mark, &address)?, address)));
        Ok(marked.filter(|(found, _)| key.is_none_or(|key| key == found)).collect())
    }

    fn attention(&self) -> MutexGuard<'_, Attention> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attention {
    fn is_due(&self, now: Timestamp) -> bool {
        self.needed && now >= self.not_before
    }

    /// Does nothing for a while, unless addresses are in use.
    fn rest(&mut self, now: Timestamp) {
        if !self.used {
            self.not_before = now.saturating_add(IDLE_WAIT).unwrap_or(Timestamp::MAX);
        }
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses")
            .field("attention", &*self.attention())
            .finish_non_exhaustive()
    }
}
