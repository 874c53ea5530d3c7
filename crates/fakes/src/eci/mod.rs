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

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

pub use sts::StsKey;
pub use verify::{AccessKey, Verifier};
pub use wire::{Received, Refusal};

pub use crate::cloud::{BuildEnd, Fault, Pace};

use crate::cloud::{self, Rate};
use crate::registry::lock;
use caches::{Cache, Stage};
use gateway::{Gateway, State};

const REGION: &str = "cn-hangzhou";

/// A running cloud. Dropping it closes the listener.
pub struct FakeEci {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    key: (String, String),
    task: tokio::task::JoinHandle<()>,
}

/// One image cache, as a test looks at it.
#[derive(Clone)]
pub struct CacheView {
    /// `imc-…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Preparing`, `Ready`, …
    pub status: String,
    /// In the order they were given.
    pub tags: Vec<(String, String)>,
    /// In the order they were given.
    pub images: Vec<String>,
    /// GiB.
    pub size: i32,
    /// When it was made.
    pub created: Timestamp,
    /// When it goes by itself, as it is told: whole seconds.
    pub expires_at: Option<String>,
    /// Messages of its events, oldest first.
    pub events: Vec<String>,
    /// The public address of its build.
    pub eip: Option<String>,
    /// All parameters of the call that made it, registry passwords too.
    pub parameters: BTreeMap<String, String>,
}

impl fmt::Debug for CacheView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, status, .. } = self;
        write!(
            formatter,
            "CacheView({id} {name} {status}, {:?}, {:?})",
            self.images, self.tags
        )
    }
}

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

impl fmt::Debug for FakeEci {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FakeEci({})", self.address)
    }
}

impl FakeEci {
    /// Starts an account without caches on a free loopback port.
    ///
    /// # Panics
    ///
    /// When the loopback interface has no free port.
    #[allow(clippy::expect_used, reason = "without a server there is no test")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let gateway = Arc::new(Gateway::default());
        let key = {
            let mut state = lock(&gateway.state);
            state.region = REGION.to_owned();
            let id = format!("LTAI{}", state.mint.hex(20));
            let secret = format!("aKsEcReT{}", state.mint.hex(22));
            let known = AccessKey {
                secret: secret.clone(),
                session: None,
            };
            state.verifier.add(id.clone(), known);
            (id, secret)
        };
        let task = tokio::spawn(cloud::serve(listener, Arc::clone(&gateway)));
        Self {
            address,
            gateway,
            key,
            task,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.gateway.state);
        state.tick();
        state
    }

    /// Where all the APIs are: `http://host:port`. The metadata service is below it, at `/latest/`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where a client finds ready-made credentials.
    pub fn credentials_uri(&self) -> String {
        format!("{}{}", self.endpoint(), metadata::CREDENTIALS)
    }

    /// The region it serves.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// A permanent key: id and secret.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.key.0, &self.key.1)
    }

    /// Lets another permanent key call.
    pub fn add_access_key(&self, id: &str, secret: &str) {
        let key = AccessKey {
            secret: secret.to_owned(),
            session: None,
        };
        self.state().verifier.add(id, key);
    }

    /// Takes a key away, permanent or temporary.
    pub fn remove_access_key(&self, id: &str) {
        self.state().verifier.remove(id);
    }

    /// A temporary key.
    pub fn issue_key(&self, lifetime: Duration) -> StsKey {
        sts::issue(&mut self.state(), lifetime)
    }

    /// Every secret in play: of keys, tokens, and what clients sent in.
    pub fn secrets(&self) -> Vec<String> {
        let state = self.state();
        let mut secrets = state.verifier.secrets();
        secrets.extend(state.received_secrets.iter().cloned());
        secrets
    }

    /// The service's time: the wall clock and what was added to it.
    pub fn now(&self) -> Timestamp {
        self.state().now()
    }

    /// Lets time pass, for caches, keys and the dates of calls.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.offset += SignedDuration::try_from(by).unwrap_or_default();
        state.tick();
    }

    /// Lets the caches grow older; dates and keys are still judged by the clock as it was.
    pub fn age(&self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or_default();
        let mut state = self.state();
        state.offset += by;
        state.skew -= by;
        state.tick();
    }

    /// How far the gateway's clock is ahead of the service's (behind, if negative).
    pub fn set_clock_skew(&self, skew: SignedDuration) {
        self.state().skew = skew;
    }

    /// How builds go on.
    pub fn set_pace(&self, pace: Pace) {
        let mut state = self.state();
        state.caches.set_pace(pace);
        state.tick();
    }

    /// Ends every build that runs and does not hang. An instant cache becomes usable; a second call completes its copy.
    pub fn finish_builds(&self) {
        let mut state = self.state();
        let now = state.now();
        let State { caches, mint, .. } = &mut *state;
        caches.finish(now, mint);
        state.tick();
    }

    /// How the next build that leaves Preparing, or Updating, ends. Calls queue up.
    pub fn fail_next_build(&self, end: BuildEnd) {
        self.state().caches.ends.push_back(end);
    }

    /// What goes wrong with the next calls of an action (or of `metadata`, `metadata-token`, `credentials-uri`).
    /// Calls queue up.
    pub fn inject(&self, action: &str, fault: Fault, times: usize) {
        self.state().faults.push(action, fault, times);
    }

    /// Ends all faults and forgets how builds were to end.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.caches.ends.clear();
    }

    /// How many caches there may be.
    pub fn set_quota(&self, most: usize) {
        self.state().rules.quota = most;
    }

    /// How many calls any second may have, all actions together.
    pub fn set_rate(&self, calls_per_second: Option<u32>) {
        self.state().rate = calls_per_second.map(|calls| Rate::new(calls, Duration::from_secs(1)));
    }

    /// How many calls of one action any window may have; the vendor's rule is 200 `CreateImageCache` a minute.
    pub fn set_action_rate(&self, action: &str, calls: u32, window: Duration) {
        let rate = Rate::new(calls, window);
        self.state().action_rates.insert(action.to_owned(), rate);
    }

    /// Value of `x-acs-retry-after` that goes with a refusal for the rate.
    pub fn set_retry_after_ms(&self, millis: Option<u64>) {
        self.state().retry_after_ms = millis;
    }

    /// A new cache is not described before it is older than this.
    pub fn set_visibility_lag(&self, lag: Duration) {
        self.state().rules.visibility_lag = lag;
    }

    /// Whether deleting a cache that is not there is refused instead of a success.
    pub fn refuse_unknown_deletes(&self, refused: bool) {
        self.state().rules.unknown_delete_refused = refused;
    }

    /// Whether deleting a cache that is being built is refused.
    pub fn refuse_deletes_while_building(&self, refused: bool) {
        self.state().rules.building_delete_refused = refused;
    }

    /// The only OIDC token that is believed; any is, before this is called.
    pub fn set_oidc_token(&self, token: &str) {
        let mut state = self.state();
        state.received_secrets.insert(token.to_owned());
        state.sts.oidc_token = Some(token.to_owned());
    }

    /// Whether the metadata service refuses reads without a session token.
    pub fn require_metadata_token(&self, required: bool) {
        self.state().sts.token_required = required;
    }

    /// How long the keys of the instance role and the credentials URI are good for, from the next one on.
    pub fn set_role_lifetime(&self, lifetime: Duration) {
        let mut state = self.state();
        state.sts.role_lifetime = Some(lifetime);
        state.sts.role_key = None;
    }

    /// The name of the instance's role.
    pub fn role(&self) -> &'static str {
        metadata::ROLE
    }

    /// Adds a Ready cache that somebody else made; its id.
    pub fn add_foreign_cache(&self, name: &str) -> String {
        let mut state = self.state();
        let now = state.now();
        let id = format!("imc-2ze{}", state.mint.hex(17));
        let cache = Cache {
            id: id.clone(),
            name: name.to_owned(),
            container_group: format!("eci-2ze{}", state.mint.hex(17)),
            images: vec!["registry.example.com/somebody/else:1".to_owned()],
            size: 20,
            tags: vec![("team".to_owned(), "somebody-else".to_owned())],
            resource_group: None,
            retention_days: None,
            elimination: None,
            flash: false,
            eip: None,
            created: now,
            parameters: BTreeMap::new(),
            stage: Stage::Ready,
            since: now,
            copying: false,
            hangs: false,
            snapshot: Some(format!("s-2ze{}", state.mint.hex(17))),
            flash_snapshot: None,
            expires: None,
            last_matched: None,
            events: Default::default(),
        };
        state.caches.insert(cache);
        state.caches.foreign += 1;
        id
    }

    /// Shows a cache in another status from now on, documented or not. Unknown ids are ignored.
    pub fn set_status(&self, id: &str, word: &str) {
        let mut state = self.state();
        let now = state.now();
        if let Some(number) = state.caches.number(id) {
            state.caches.change(number, |cache| {
                cache.stage = Stage::of(word);
                cache.since = now;
            });
        }
    }

    /// All caches, oldest first.
    pub fn caches(&self) -> Vec<CacheView> {
        let state = self.state();
        let mut views: Vec<CacheView> = state.caches.newest(u64::MAX).map(|(_, cache)| view(cache)).collect();
        views.reverse();
        views
    }

    /// How many caches were ever made through the API.
    pub fn creations(&self) -> usize {
        let state = self.state();
        state.caches.made - state.caches.foreign
    }

    /// How many calls of an action arrived, refused ones too.
    pub fn calls(&self, action: &str) -> usize {
        self.state().calls.get(action).copied().unwrap_or(0)
    }

    /// How many `DescribeImageCaches` asked for one name or one id rather than for a list.
    pub fn lookups(&self) -> usize {
        self.state().lookups
    }

    /// How many calls were refused with a code.
    pub fn rejected(&self, code: &str) -> usize {
        self.state().rejected.get(code).copied().unwrap_or(0)
    }

    /// How many calls were refused, by code.
    pub fn rejections(&self) -> BTreeMap<String, usize> {
        let state = self.state();
        state
            .rejected
            .iter()
            .map(|(code, count)| (code.clone(), *count))
            .collect()
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
        state.addresses.iter().map(view).collect()
    }

    /// Adds a free public address that somebody else allocated; its id.
    pub fn add_foreign_address(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let mut state = self.state();
        let id = format!("eip-2ze{}", state.mint.hex(17));
        let address = vpc::Address {
            id: id.clone(),
            ip: state.addresses.next_ip(),
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
        state.addresses.insert(address);
        state.addresses.foreign += 1;
        id
    }

    /// How many public addresses were ever allocated through the API.
    pub fn allocations(&self) -> u64 {
        let state = self.state();
        state.addresses.made - state.addresses.foreign
    }
}

fn view(cache: &Cache) -> CacheView {
    CacheView {
        id: cache.id.clone(),
        name: cache.name.clone(),
        status: cache.stage.as_str().to_owned(),
        tags: cache.tags.clone(),
        images: cache.images.clone(),
        size: cache.size,
        created: cache.created,
        expires_at: cache.expires.map(gateway::time_text),
        events: cache.events.iter().map(|event| event.message.clone()).collect(),
        eip: cache.eip.clone(),
        parameters: cache.parameters.clone(),
    }
}

impl Drop for FakeEci {
    fn drop(&mut self) {
        self.task.abort();
    }
}
