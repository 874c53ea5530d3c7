//! The address actions of the VPC API (2016-04-28) and their bodies.

use std::collections::BTreeMap;
use std::sync::Arc;

use imagecache_cloud_http::{Client, Effect};
use imagecache_core::{AddressCharge, CacheKey, CacheSpec, PublicAddress};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;
use crate::mark::{self, Mark, Tag};
use crate::params::Parameters;
use crate::protocol::{Acs3, Product, RpcCall};
use crate::rpc;
use crate::wire::CacheEntry;

pub(super) const ALLOCATE: &str = "AllocateEipAddress";
const DESCRIBE: &str = "DescribeEipAddresses";
const RELEASE: &str = "ReleaseEipAddress";
const JOIN_PACKAGE: &str = "AddCommonBandwidthPackageIp";
const LEAVE_PACKAGE: &str = "RemoveCommonBandwidthPackageIp";

/// What the service takes when nothing is said, in Mbit/s; said all the same, since the annotation documents it too.
const DEFAULT_MBPS: u32 = 5;
/// Largest page.
const PAGE_SIZE: usize = 100;
/// Far more pages than any quota of addresses fills.
const MAX_PAGES: usize = 100;
/// Start of an address's name; the key follows, together far below the 128 characters that a name may have.
const NAME_PREFIX: &str = "imagecache-";
/// Longest token.
const TOKEN_CHARS: usize = 64;

/// Somebody else has released it.
const GONE: &str = "InvalidAllocationId.NotFound";
/// It is not in the package.
const NOT_IN_PACKAGE: &str = "IpInstanceId.NotBandwidthPackage";
/// The package is gone.
const NO_PACKAGE: &str = "InvalidBandwidthPackageId.NotFound";

/// A new address.
pub(super) struct Allocate<'a> {
    pub(super) key: &'a CacheKey,
    pub(super) address: &'a PublicAddress,
    pub(super) resource_group_id: Option<&'a str>,
    pub(super) tags: Vec<Tag>,
    /// Within the same window of time the same request gives the same address.
    pub(super) window: i64,
}

impl Allocate<'_> {
    /// The parameters of the call.
    pub(super) fn parameters(&self, region: &str) -> Parameters {
        let mut parameters = in_region(region);
        parameters.set("Bandwidth", self.address.bandwidth_mbps.unwrap_or(DEFAULT_MBPS));
        parameters.set("InternetChargeType", charge_type(self.address.charge));
        parameters.set("InstanceChargeType", "PostPaid");
        parameters.set_some("ISP", self.address.isp.as_ref());
        parameters.set_some("ResourceGroupId", self.resource_group_id);
        parameters.set("Name", format!("{NAME_PREFIX}{}", self.key));
        parameters.set(
            "Description",
            "made by imagecache for the build of an image cache, and removed after it",
        );
        set_tags(&mut parameters, &self.tags);
        // Over everything that is asked for: the same token with other parameters would be refused.
        let mut token = hex::encode(Sha256::digest(format!(
            "{}\n{}",
            self.window,
            parameters.canonical_query()
        )));
        token.truncate(TOKEN_CHARS);
        parameters.set("ClientToken", token);
        parameters
    }
}

/// An address as it is listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Address {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) made_at: Option<Timestamp>,
    pub(super) bandwidth_package_id: Option<String>,
    pub(super) tags: Vec<Tag>,
    /// For which attempt it was made.
    pub(super) attempt: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Allocated {
    allocation_id: String,
}

#[derive(Deserialize)]
struct Acknowledged {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    total_count: Option<usize>,
    #[serde(default)]
    eip_addresses: Entries,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entries {
    eip_address: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    allocation_id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    allocation_time: String,
    #[serde(default)]
    bandwidth_package_id: String,
    #[serde(default)]
    tags: Tags,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tags {
    tag: Vec<Tag>,
}

impl From<Entry> for Address {
    fn from(entry: Entry) -> Self {
        let tags = entry.tags.tag;
        let marked = CacheEntry {
            tags: tags.clone(),
            ..CacheEntry::default()
        };
        Self {
            id: entry.allocation_id,
            status: entry.status,
            made_at: entry.allocation_time.parse().ok(),
            bandwidth_package_id: Some(entry.bandwidth_package_id).filter(|id| !id.is_empty()),
            attempt: mark::attempt(&marked.tags),
            tags,
        }
    }
}

/// Tags of a new address: the mark, as caches have it.
pub(super) fn tags(mark: &Mark, key: &CacheKey, attempt: u32) -> Vec<Tag> {
    mark::tags(mark, key, &CacheSpec::new(Vec::new()), attempt, &BTreeMap::new())
}

/// The key of an address with our very own mark; `None` for everybody else's.
pub(super) fn key(mark: &Mark, address: &Address) -> Option<CacheKey> {
    let marked = CacheEntry {
        tags: address.tags.clone(),
        ..CacheEntry::default()
    };
    mark::key(mark, &marked).filter(|_| mark.is_own(&marked.tags))
}

/// The tags that the service filters by; [`key()`] decides.
pub(super) fn filter(mark: &Mark, key: Option<&CacheKey>) -> Vec<Tag> {
    match key {
        Some(key) => {
            let value = |tag: &Tag| tag.value == key.as_str();
            tags(mark, key, 1).into_iter().filter(value).collect()
        }
        None => vec![mark.filter()],
    }
}

/// The address actions in one region.
pub(super) struct VpcClient {
    http: Arc<Client<Acs3>>,
    region: String,
}

impl VpcClient {
    pub(super) fn new(http: Arc<Client<Acs3>>, region: String) -> Self {
        Self { http, region }
    }

    /// Makes an address, or tells the one that the same token has made, and gives its id.
    pub(super) async fn allocate(&self, request: &Allocate<'_>) -> Result<String, ApiError> {
        let parameters = request.parameters(&self.region);
        Ok(self.send::<Allocated>(ALLOCATE, parameters).await?.allocation_id)
    }

    /// One address.
    pub(super) async fn describe(&self, id: &str) -> Result<Option<Address>, ApiError> {
        let mut parameters = self.parameters();
        parameters.set("AllocationId", id);
        let page: Page = self.send(DESCRIBE, parameters).await?;
        let found = page
            .eip_addresses
            .eip_address
            .into_iter()
            .find(|entry| entry.allocation_id == id);
        Ok(found.map(Address::from))
    }

    /// Every address with these tags.
    pub(super) async fn list(&self, tags: &[Tag]) -> Result<Vec<Address>, ApiError> {
        // Pages shift while addresses come and go: each is taken once.
        let mut addresses = BTreeMap::new();
        for number in 1..=MAX_PAGES {
            let mut parameters = self.parameters();
            parameters.set("PageNumber", number);
            parameters.set("PageSize", PAGE_SIZE);
            set_tags(&mut parameters, tags);
            let page: Page = self.send(DESCRIBE, parameters).await?;
            let entries = page.eip_addresses.eip_address;
            let is_empty = entries.is_empty();
            addresses.extend(
                entries
                    .into_iter()
                    .map(|entry| (entry.allocation_id.clone(), Address::from(entry))),
            );
            if is_empty || page.total_count.is_some_and(|total| addresses.len() >= total) {
                return Ok(addresses.into_values().collect());
            }
        }
        Err(ApiError::endless_pages(DESCRIBE, MAX_PAGES))
    }

    /// Releases an address; one that is gone is fine.
    pub(super) async fn release(&self, id: &str) -> Result<(), ApiError> {
        let mut parameters = self.parameters();
        parameters.set("AllocationId", id);
        fine(self.send(RELEASE, parameters).await, &[GONE])
    }

    /// Puts an address into a bandwidth package.
    pub(super) async fn join_package(&self, package: &str, id: &str) -> Result<(), ApiError> {
        let mut parameters = self.package(package, id);
        parameters.set("IpType", "EIP");
        fine(self.send(JOIN_PACKAGE, parameters).await, &[])
    }

    /// Takes an address out of its bandwidth package; one that is not in it is fine.
    pub(super) async fn leave_package(&self, package: &str, id: &str) -> Result<(), ApiError> {
        let parameters = self.package(package, id);
        fine(
            self.send(LEAVE_PACKAGE, parameters).await,
            &[NOT_IN_PACKAGE, NO_PACKAGE],
        )
    }

    fn package(&self, package: &str, id: &str) -> Parameters {
        let mut parameters = self.parameters();
        parameters.set("BandwidthPackageId", package);
        parameters.set("IpInstanceId", id);
        parameters
    }

    fn parameters(&self) -> Parameters {
        in_region(&self.region)
    }

    /// Every action here reads, has a token, or ends in the same state.
    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        action: &'static str,
        parameters: Parameters,
    ) -> Result<T, ApiError> {
        let call = RpcCall {
            product: Product::Vpc,
            action,
            effect: Effect::Repeatable,
            parameters,
        };
        rpc::call(&self.http, &call).await
    }
}

fn in_region(region: &str) -> Parameters {
    let mut parameters = Parameters::new();
    parameters.set("RegionId", region);
    parameters
}

/// The service's own default is by bandwidth, which is billed for the whole day; a build needs minutes, and accounts outside
/// China can have nothing else.
fn charge_type(charge: Option<AddressCharge>) -> &'static str {
    match charge {
        None | Some(AddressCharge::Traffic) => "PayByTraffic",
        Some(AddressCharge::Bandwidth) => "PayByBandwidth",
    }
}

fn set_tags(parameters: &mut Parameters, tags: &[Tag]) {
    for (index, tag) in (1..).zip(tags) {
        let index: usize = index;
        parameters.set(format!("Tag.{index}.Key"), &tag.key);
        parameters.set(format!("Tag.{index}.Value"), &tag.value);
    }
}

/// The outcome, with refusals by these codes taken for a success: what they say is what was wanted.
fn fine(outcome: Result<Acknowledged, ApiError>, codes: &[&str]) -> Result<(), ApiError> {
    match outcome {
        Err(error) if !codes.iter().any(|code| error.is(code)) => Err(error),
        _ => Ok(()),
    }
}
