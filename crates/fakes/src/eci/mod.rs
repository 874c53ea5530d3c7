//! Elastic Container Instance's image caches and the services around them, as their gateway shows them.
//!
//! One HTTP server on loopback answers for ECI, VPC, STS, the instance metadata service and a credentials URI. It
//! believes nothing: each call's signature, date and nonce are checked by a verifier of its own.

mod caches;
mod fault;
mod gateway;
mod images;
mod metadata;
mod params;
mod sts;
mod verify;
mod vpc;
mod wire;

use std::time::Duration;

use jiff::Timestamp;

pub use crate::cloud::{BuildEnd, CacheView, Fault, Foreign, Key as AccessKey, Pace, Received, Refusal, StsKey};
pub use gateway::Eci;
pub use verify::Verifier;

use crate::cloud::{Caches, Fake, Keys, Mint, Rate, Reply, Vendor};
use caches::{Cache, Stage};
use gateway::State;

/// A running cloud of ECI.
pub type FakeEci = Fake<Eci>;

/// One public address, as a test looks at it.
#[derive(Clone, Debug)]
pub struct AddressView {
    /// `eip-…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Available` or `InUse`.
    pub status: String,
    /// In the order they were given.
    pub tags: Vec<(String, String)>,
    /// The image cache whose build has it.
    pub cache: Option<String>,
    /// Shared bandwidth that it is in.
    pub bandwidth_package: Option<String>,
    /// Mbit/s.
    pub bandwidth: i32,
    /// `PayByTraffic` or `PayByBandwidth`.
    pub charge: String,
    /// Kind of line.
    pub isp: String,
    /// Its description.
    pub description: String,
    /// Its resource group.
    pub resource_group: Option<String>,
}

impl FakeEci {
    /// Where a client finds ready-made credentials.
    pub fn credentials_uri(&self) -> String {
        format!("{}{}", self.endpoint(), metadata::CREDENTIALS)
    }

    /// How many calls of one action any window may have; the vendor's rule is 200 `CreateImageCache` a minute.
    pub fn set_action_rate(&self, action: &str, calls: u32, window: Duration) {
        let rate = Rate::new(calls, window);
        self.state().own.action_rates.insert(action.to_owned(), rate);
    }

    /// Value of `x-acs-retry-after` that goes with a refusal for the rate.
    pub fn set_retry_after_ms(&self, millis: Option<u64>) {
        self.state().own.retry_after_ms = millis;
    }

    /// Whether deleting a cache that is not there is refused instead of a success.
    pub fn refuse_unknown_deletes(&self, refused: bool) {
        self.state().own.unknown_delete_refused = refused;
    }

    /// Whether the metadata service refuses reads without a session token.
    pub fn require_metadata_token(&self, required: bool) {
        self.state().own.token_required = required;
    }

    /// All public addresses, oldest first.
    pub fn addresses(&self) -> Vec<AddressView> {
        let state = self.state();
        let view = |address: &vpc::Address| AddressView {
            id: address.id.clone(),
            name: address.name.clone(),
            status: address.status().to_owned(),
            tags: address.tags.clone(),
            cache: address.used_by.as_ref().map(|(_, cache)| cache.clone()),
            bandwidth_package: address.package.clone(),
            bandwidth: address.bandwidth,
            charge: address.charge.clone(),
            isp: address.isp.clone(),
            description: address.description.clone(),
            resource_group: address.resource_group.clone(),
        };
        state.own.addresses.iter().map(view).collect()
    }

    /// Adds a free public address that somebody else allocated; its id.
    pub fn add_foreign_address(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let mut state = self.state();
        let id = format!("eip-2ze{}", state.mint.hex(17));
        let address = vpc::Address {
            id: id.clone(),
            ip: state.own.addresses.next_ip(),
            name: name.to_owned(),
            description: String::new(),
            bandwidth: 5,
            charge: "PayByBandwidth".to_owned(),
            isp: "BGP".to_owned(),
            resource_group: None,
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            package: None,
            used_by: None,
            allocated: state.now(),
        };
        state.own.addresses.insert(address);
        state.own.addresses.foreign += 1;
        id
    }

    /// How many public addresses were ever allocated through the API.
    pub fn allocations(&self) -> u64 {
        let state = self.state();
        state.own.addresses.made - state.own.addresses.foreign
    }
}

impl Vendor for Eci {
    type Cache = Cache;

    const REGION: &'static str = "cn-hangzhou";

    fn permanent_key(mint: &mut Mint) -> [String; 2] {
        [format!("LTAI{}", mint.hex(20)), format!("aKsEcReT{}", mint.hex(22))]
    }

    fn temporary_key(mint: &mut Mint) -> [String; 3] {
        [
            format!("STS.{}", mint.hex(24)),
            format!("sTsSecret{}", mint.hex(32)),
            format!("CAIS{}/+{}==", mint.hex(64), mint.hex(64)),
        ]
    }

    fn keys(&mut self) -> &mut Keys {
        &mut self.verifier.keys
    }

    /// Of all actions together.
    fn set_rate(&mut self, calls_per_second: Option<u32>) {
        self.rate = calls_per_second.map(|calls| Rate::new(calls, Duration::from_secs(1)));
    }

    fn foreign_cache(foreign: &Foreign<'_>, now: Timestamp, mint: &mut Mint) -> Cache {
        let images = vec!["registry.example.com/somebody/else:1".to_owned()];
        let mut cache = Cache::new(foreign.name.to_owned(), images, 20, now, mint);
        cache.stage = Stage::Ready;
        cache.snapshot = Some(format!("s-2ze{}", mint.hex(17)));
        cache.tags = foreign.owned_tags();
        cache
    }

    fn view(&self, _number: u64, cache: &Cache) -> CacheView {
        CacheView {
            id: cache.id.clone(),
            name: cache.name.clone(),
            status: cache.stage.as_str().to_owned(),
            tags: cache.tags.clone(),
            images: cache.images.clone(),
            size: u64::try_from(cache.size).unwrap_or(0),
            created: cache.created,
            expires_at: cache.expires,
            events: cache.events.iter().map(|event| event.message.clone()).collect(),
            snapshot: cache.snapshot.clone(),
            eip: cache.eip.clone(),
            parameters: cache.parameters.clone(),
        }
    }

    fn settle(&mut self, caches: &Caches<Cache>) {
        self.addresses.settle(caches);
    }

    fn answer(state: &mut State, request: &Received) -> Reply {
        match metadata::serves(&request.path) {
            true => metadata::answer(state, request),
            false => state.answer(request),
        }
    }
}
