//! TKE's image caches and the services around them, as their gateway shows them.
//!
//! One HTTP server on loopback answers for TKE, STS and the metadata service of a machine. It believes nothing: each
//! call's signature and timestamp are checked by a verifier of its own.

mod caches;
mod gateway;
mod images;
mod metadata;
mod params;
mod shape;
mod sts;
mod verify;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

pub use crate::cloud::{BuildEnd, Fault, Pace, Received, Refusal};
pub use shape::Shape;
pub use sts::StsKey;
pub use verify::{SecretKey, Verifier};

use crate::registry::lock;
use caches::{Cache, Stage};
use gateway::{Gateway, State};

const REGION: &str = "ap-guangzhou";

/// A running cloud. Dropping it closes the listener.
pub struct FakeTke {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    key: (String, String),
    task: tokio::task::JoinHandle<()>,
}

/// One image cache, as a test looks at it.
#[derive(Clone, Debug)]
pub struct CacheView {
    /// `imc-…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Pending`, `Ready`, …
    pub status: String,
    /// In the order they were given.
    pub tags: Vec<(String, String)>,
    /// In the order they were given.
    pub images: Vec<String>,
    /// GiB.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it vanishes.
    pub expires_at: Option<Timestamp>,
    /// The messages of its events, oldest first.
    pub events: Vec<String>,
    /// All parameters of the call that made it; what is not a text is JSON.
    pub parameters: BTreeMap<String, String>,
}

impl FakeTke {
    /// Starts an account without caches on a free loopback port.
    ///
    /// # Panics
    ///
    /// When the loopback interface has no free port.
    #[allow(clippy::expect_used)]
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let gateway = Arc::new(Gateway::default());
        let key = {
            let mut state = lock(&gateway.state);
            let id = format!("AKID{}", state.mint.hex(32));
            let secret = format!("sEcReTkEy{}", state.mint.hex(23));
            let known = SecretKey {
                secret: secret.clone(),
                session: None,
            };
            state.verifier.add(id.clone(), known);
            (id, secret)
        };
        let task = tokio::spawn(crate::cloud::serve(listener, Arc::clone(&gateway)));
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
        let key = SecretKey {
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

    /// Whether `x-tc-action` must be among the signed headers, as at first. The service takes both.
    pub fn require_signed_action(&self, required: bool) {
        self.state().verifier.require_signed_action(required);
    }

    /// The service's time: the wall clock and what was added to it.
    pub fn now(&self) -> Timestamp {
        self.state().now()
    }

    /// Lets time pass, for caches, keys and the timestamps of calls.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.offset += SignedDuration::try_from(by).unwrap_or_default();
        state.tick();
    }

    /// Lets the caches and keys grow older; the timestamps of calls are still compared with the clock as it was.
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

    /// How builds go on. Pending lasts as long as both steps.
    pub fn set_pace(&self, pace: Pace) {
        let mut state = self.state();
        state.caches.pace = pace;
        state.tick();
    }

    /// Ends every build that runs and does not hang.
    pub fn finish_builds(&self) {
        let mut state = self.state();
        let now = state.now();
        let State { caches, mint, .. } = &mut *state;
        caches.finish(now, mint);
    }

    /// How the next build that leaves Pending, or Updating, ends. Calls queue up.
    pub fn fail_next_build(&self, end: BuildEnd) {
        self.state().caches.ends.push_back(end);
    }

    /// What goes wrong with the next calls of an action (or of `metadata`). Calls queue up.
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

    /// The code of the refusal above the quota; `LimitExceeded` at first.
    pub fn set_quota_code(&self, code: &str) {
        self.state().rules.quota_code = code.to_owned();
    }

    /// How many calls of one action any second may have; 20 at first.
    pub fn set_rate(&self, calls_per_second: Option<u32>) {
        self.state().set_rate(calls_per_second);
    }

    /// A new cache is neither described nor matched before it is older than this.
    pub fn set_visibility_lag(&self, lag: Duration) {
        self.state().rules.visibility_lag = lag;
    }

    /// Whether looking for a name also finds caches that only have it in their name.
    pub fn match_names_loosely(&self, loosely: bool) {
        self.state().rules.loose_names = loosely;
    }

    /// Whether deleting a cache that is being built is refused.
    pub fn refuse_deletes_while_building(&self, refused: bool) {
        self.state().rules.building_delete_refused = refused;
    }

    /// Which of the published samples caches look like.
    pub fn set_shape(&self, shape: Shape) {
        self.state().rules.shape = shape;
    }

    /// The only OIDC token that is believed; any is, before this is called.
    pub fn set_oidc_token(&self, token: &str) {
        let mut state = self.state();
        state.received_secrets.insert(token.to_owned());
        state.sts.oidc_token = Some(token.to_owned());
    }

    /// How long the keys of the machine's role are good for, from the next one on.
    pub fn set_role_lifetime(&self, lifetime: Duration) {
        let mut state = self.state();
        state.sts.role_lifetime = Some(lifetime);
        state.sts.role_key = None;
    }

    /// The name of the machine's role.
    pub fn role(&self) -> &'static str {
        metadata::ROLE
    }

    /// Adds a Ready cache that somebody else made; its id.
    pub fn add_foreign_cache(&self, name: &str) -> String {
        self.add_cache(name, "manual")
    }

    /// Adds a Ready cache without a name, as super nodes make them by themselves; its id.
    pub fn add_automatic_cache(&self) -> String {
        self.add_cache("", "auto")
    }

    fn add_cache(&self, name: &str, kind: &'static str) -> String {
        let mut state = self.state();
        let now = state.now();
        let images = vec!["registry.example.com/somebody/else:1".to_owned()];
        let mut cache = Cache::new(name.to_owned(), images, 20, now, &mut state.mint);
        cache.kind = kind;
        cache.stage = Stage::Ready;
        cache.snapshot = Some(format!("snap-{}", state.mint.word(8)));
        if kind == "manual" {
            cache.tags = vec![("team".to_owned(), "somebody-else".to_owned())];
        }
        let id = cache.id.clone();
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
        let shape = state.rules.shape;
        state
            .caches
            .iter()
            .map(|(number, cache)| view(shape, number, cache))
            .collect()
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

    /// How many calls of `DescribeImageCaches` asked for certain ids or names.
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
        let rejected = state.rejected.iter();
        rejected.map(|(code, count)| (code.clone(), *count)).collect()
    }
}

fn view(shape: Shape, number: u64, cache: &Cache) -> CacheView {
    CacheView {
        id: cache.id.clone(),
        name: cache.name.clone(),
        status: cache.stage.as_str().to_owned(),
        tags: cache.tags.clone(),
        images: cache.images.clone(),
        size: cache.size,
        created: cache.created,
        expires_at: cache.expires,
        events: shape::messages(shape, number, cache),
        parameters: cache.parameters.clone(),
    }
}

impl std::fmt::Debug for FakeTke {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FakeTke({})", self.address)
    }
}

impl Drop for FakeTke {
    fn drop(&mut self) {
        self.task.abort();
    }
}
