//! A running fake cloud, whichever the vendor: how tests start it, look at it and make it misbehave.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

use super::state::Gateway;
use super::{BuildEnd, CacheView, Entry as _, Fault, Foreign, Pace, State, StsKey, Vendor, keys, metadata, serve};
use crate::registry::lock;

/// A running cloud. Dropping it closes the listener.
pub struct Fake<V: Vendor> {
    address: SocketAddr,
    gateway: Arc<Gateway<V>>,
    key: [String; 2],
    task: tokio::task::JoinHandle<()>,
}

impl<V: Vendor> Fake<V> {
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
        let mut state = State::<V>::default();
        let key = V::permanent_key(&mut state.mint);
        let gateway = Arc::new(Gateway {
            state: Mutex::new(state),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&gateway)));
        let fake = Self {
            address,
            gateway,
            key,
            task,
        };
        fake.add_access_key(&fake.key[0], &fake.key[1]);
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<V>> {
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
        V::REGION
    }

    /// A permanent key: id and secret.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.key[0], &self.key[1])
    }

    /// Lets another permanent key call.
    pub fn add_access_key(&self, id: &str, secret: &str) {
        self.state().own.keys().permit(id, secret);
    }

    /// Takes a key away, permanent or temporary.
    pub fn remove_access_key(&self, id: &str) {
        self.state().own.keys().0.remove(id);
    }

    /// A temporary key.
    pub fn issue_key(&self, lifetime: Duration) -> StsKey {
        keys::issue(&mut self.state(), lifetime)
    }

    /// Every secret in play: of keys, tokens, and what clients sent in.
    pub fn secrets(&self) -> Vec<String> {
        let mut state = self.state();
        let mut secrets = state.own.keys().secrets();
        secrets.extend(state.received_secrets.iter().cloned());
        secrets
    }

    /// The service's time: the wall clock and what was added to it.
    pub fn now(&self) -> Timestamp {
        self.state().now()
    }

    /// Lets time pass, for caches, keys and the times at which calls were signed.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.offset += SignedDuration::try_from(by).unwrap_or_default();
        state.tick();
    }

    /// Lets the caches and keys grow older; when calls were signed is still compared with the clock as it was.
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

    /// Ends every build that runs and does not hang. What goes on after a build, as the copy of an instant cache does, ends
    /// with a second call.
    pub fn finish_builds(&self) {
        let mut state = self.state();
        let now = state.now();
        let State { caches, mint, .. } = &mut *state;
        caches.finish(now, mint);
        state.tick();
    }

    /// How the next build whose images were pulled, or updated, ends. Calls queue up.
    pub fn fail_next_build(&self, end: BuildEnd) {
        self.state().caches.ends.push_back(end);
    }

    /// What goes wrong with the next calls of an action (or of `metadata` and its like). Calls queue up.
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

    /// How many calls any second may have: all together, or of each action, as the vendor counts.
    pub fn set_rate(&self, calls_per_second: Option<u32>) {
        self.state().own.set_rate(calls_per_second);
    }

    /// A new cache is not described before it is older than this.
    pub fn set_visibility_lag(&self, lag: Duration) {
        self.state().rules.visibility_lag = lag;
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

    /// Adds a Ready cache that somebody else made by hand; its id.
    pub fn add_foreign_cache(&self, name: &str) -> String {
        self.add_foreign(&Foreign::named(name))
    }

    /// Adds a Ready cache that somebody else made; its id.
    pub fn add_foreign(&self, foreign: &Foreign<'_>) -> String {
        let mut state = self.state();
        let now = state.now();
        let cache = V::foreign_cache(foreign, now, &mut state.mint);
        let id = cache.id().to_owned();
        state.caches.insert(cache);
        state.caches.foreign += 1;
        id
    }

    /// Shows a cache in another status from now on, documented or not. Unknown ids are ignored.
    pub fn set_status(&self, id: &str, word: &str) {
        let mut state = self.state();
        let now = state.now();
        if let Some(number) = state.caches.number(id) {
            state.caches.change(number, |cache| cache.show_as(word, now));
        }
    }

    /// All caches, oldest first.
    pub fn caches(&self) -> Vec<CacheView> {
        let state = self.state();
        let view = |(number, cache)| state.own.view(number, cache);
        state.caches.iter().map(view).collect()
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

    /// How many calls of `DescribeImageCaches` asked for certain ids or names rather than for a list.
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

impl<V: Vendor> fmt::Debug for Fake<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fake({})", self.address)
    }
}

impl<V: Vendor> Drop for Fake<V> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
