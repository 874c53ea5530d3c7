//! All that an account has and all that tests have set, for any vendor, and what a vendor brings.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use wiremock::Request;

use super::{Answering, CacheView, Caches, Entry, Faults, Foreign, Keys, Mint, Received, Reply, Sts};
use crate::registry::lock;

/// How many caches an account may have at first.
const QUOTA: usize = 10_000;

/// What one vendor's cloud has of its own.
pub trait Vendor: Default + Send + Sized + 'static {
    /// An image cache.
    type Cache: Entry + Send;
    /// The region it serves.
    const REGION: &'static str;

    /// Id and secret of a new permanent key.
    fn permanent_key(mint: &mut Mint) -> [String; 2];
    /// Id, secret and token of a new temporary key.
    fn temporary_key(mint: &mut Mint) -> [String; 3];
    /// The keys of its verifier.
    fn keys(&mut self) -> &mut Keys;
    /// Sets how many calls any second may have.
    fn set_rate(&mut self, calls_per_second: Option<u32>);
    /// A Ready cache that somebody else made.
    fn foreign_cache(foreign: &Foreign<'_>, now: Timestamp, mint: &mut Mint) -> Self::Cache;
    /// A cache as a test looks at it.
    fn view(&self, number: u64, cache: &Self::Cache) -> CacheView;
    /// Lets what hangs on caches follow them.
    fn settle(&mut self, caches: &Caches<Self::Cache>);
    /// What is answered to a request.
    fn answer(state: &mut State<Self>, request: &Received) -> Reply;
}

/// What is not documented and therefore set by the test, in all clouds.
#[derive(Debug)]
pub struct Rules {
    pub(crate) quota: usize,
    pub(crate) visibility_lag: Duration,
    pub(crate) building_delete_refused: bool,
}

/// An account.
pub struct State<V: Vendor> {
    /// Added to the wall clock: what the service believes.
    pub(crate) offset: SignedDuration,
    /// Added to that: what the gateway believes when it looks at when calls were signed.
    pub(crate) skew: SignedDuration,
    pub(crate) mint: Mint,
    pub(crate) caches: Caches<V::Cache>,
    pub(crate) rules: Rules,
    pub(crate) sts: Sts,
    pub(crate) faults: Faults,
    pub(crate) calls: HashMap<String, usize>,
    pub(crate) lookups: usize,
    pub(crate) rejected: HashMap<String, usize>,
    /// Secrets that clients sent in.
    pub(crate) received_secrets: BTreeSet<String>,
    /// What only this vendor has.
    pub(crate) own: V,
}

impl<V: Vendor> Default for State<V> {
    fn default() -> Self {
        Self {
            offset: SignedDuration::ZERO,
            skew: SignedDuration::ZERO,
            mint: Mint::default(),
            caches: Caches::default(),
            rules: Rules {
                quota: QUOTA,
                visibility_lag: Duration::ZERO,
                building_delete_refused: false,
            },
            sts: Sts::default(),
            faults: Faults::default(),
            calls: HashMap::new(),
            lookups: 0,
            rejected: HashMap::new(),
            received_secrets: BTreeSet::new(),
            own: V::default(),
        }
    }
}

impl<V: Vendor> State<V> {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + self.offset
    }

    /// Lets time do its work; everything that looks at the account calls it first.
    pub(crate) fn tick(&mut self) -> Timestamp {
        let now = self.now();
        self.caches.tick(now, &mut self.mint);
        self.own.settle(&self.caches);
        now
    }

    pub(crate) fn count_call(&mut self, action: &str) {
        *self.calls.entry(action.to_owned()).or_default() += 1;
    }

    pub(crate) fn count_rejection(&mut self, code: &str) {
        *self.rejected.entry(code.to_owned()).or_default() += 1;
    }
}

/// The state, behind the server.
pub(crate) struct Gateway<V: Vendor> {
    pub(crate) state: Mutex<State<V>>,
}

impl<V: Vendor> Answering for Gateway<V> {
    fn answer(&self, request: &Request) -> Reply {
        let received = Received::from_wiremock(request);
        let mut state = lock(&self.state);
        let mut reply = V::answer(&mut state, &received);
        let date = (state.now() + state.skew).strftime("%a, %d %b %Y %H:%M:%S GMT");
        reply.headers.push(("date", date.to_string()));
        reply
    }
}
