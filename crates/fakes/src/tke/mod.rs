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

use jiff::Timestamp;

pub use crate::cloud::{BuildEnd, CacheView, Fault, Foreign, Key as SecretKey, Pace, Received, Refusal, StsKey};
pub use gateway::Tke;
pub use shape::Shape;
pub use verify::Verifier;

use crate::cloud::{Caches, Fake, Keys, Mint, Reply, Vendor};
use caches::{Cache, Stage};
use gateway::State;

/// A running cloud of TKE.
pub type FakeTke = Fake<Tke>;

impl FakeTke {
    /// Whether `x-tc-action` must be among the signed headers, as at first. The service takes both.
    pub fn require_signed_action(&self, required: bool) {
        self.state().own.verifier.require_signed_action(required);
    }

    /// The code of the refusal above the quota; `LimitExceeded` at first.
    pub fn set_quota_code(&self, code: &str) {
        self.state().own.quota_code = code.to_owned();
    }

    /// Whether looking for a name also finds caches that only have it in their name.
    pub fn match_names_loosely(&self, loosely: bool) {
        self.state().own.loose_names = loosely;
    }

    /// Which of the published samples caches look like.
    pub fn set_shape(&self, shape: Shape) {
        self.state().own.shape = shape;
    }

    /// Adds a Ready cache without a name, as super nodes make them by themselves; its id.
    pub fn add_automatic_cache(&self) -> String {
        self.add_foreign(&Foreign {
            automatic: true,
            ..Foreign::default()
        })
    }
}

impl Vendor for Tke {
    type Cache = Cache;

    const REGION: &'static str = "ap-guangzhou";

    fn permanent_key(mint: &mut Mint) -> [String; 2] {
        [format!("AKID{}", mint.hex(32)), format!("sEcReTkEy{}", mint.hex(23))]
    }

    fn temporary_key(mint: &mut Mint) -> [String; 3] {
        [
            format!("AKID-{}", mint.hex(40)),
            format!("tMpSeCrEt{}=", mint.hex(32)),
            format!("{}-{}_{}", mint.hex(48), mint.hex(64), mint.hex(32)),
        ]
    }

    fn keys(&mut self) -> &mut Keys {
        &mut self.verifier.keys
    }

    /// Of each action; 20 at first.
    fn set_rate(&mut self, calls_per_second: Option<u32>) {
        self.rate = calls_per_second;
        self.rates.clear();
    }

    fn foreign_cache(foreign: &Foreign<'_>, now: Timestamp, mint: &mut Mint) -> Cache {
        let images = vec!["registry.example.com/somebody/else:1".to_owned()];
        let mut cache = Cache::new(foreign.name.to_owned(), images, 20, now, mint);
        cache.kind = if foreign.automatic { "auto" } else { "manual" };
        cache.stage = Stage::Ready;
        cache.snapshot = Some(format!("snap-{}", mint.word(8)));
        cache.tags = foreign.owned_tags();
        cache
    }

    fn view(&self, number: u64, cache: &Cache) -> CacheView {
        CacheView {
            id: cache.id.clone(),
            name: cache.name.clone(),
            status: cache.stage.as_str().to_owned(),
            tags: cache.tags.clone(),
            images: cache.images.clone(),
            size: cache.size,
            created: cache.created,
            expires_at: cache.expires,
            events: shape::messages(self.shape, number, cache),
            snapshot: cache.snapshot.clone(),
            eip: None,
            parameters: cache.parameters.clone(),
        }
    }

    fn settle(&mut self, _caches: &Caches<Cache>) {}

    fn answer(state: &mut State, request: &Received) -> Reply {
        match metadata::serves(&request.path) {
            true => metadata::answer(state, request),
            false => state.answer(request),
        }
    }
}
