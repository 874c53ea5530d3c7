//! What fake clouds have in common: accounts, keys, caches in time, faults, rates, answers and their relay. Knows no vendor.

mod build;
mod caches;
mod fake;
mod fault;
mod keys;
mod message;
pub(crate) mod metadata;
mod mint;
mod rate;
mod relay;
mod state;
mod view;

pub use build::{BuildEnd, Pace};
pub(crate) use caches::is_visible;
pub use caches::{Caches, Entry};
pub use fake::Fake;
pub(crate) use fault::spoil;
pub use fault::{Fault, Faults};
pub use keys::{Key, Keys, Sts, StsKey};
pub(crate) use keys::{hmac, issue, knows_token, role_key};
pub(crate) use message::Delivery;
pub use message::{Received, Refusal, Reply};
pub use mint::Mint;
pub(crate) use rate::Rate;
pub(crate) use relay::{Answering, serve};
pub use state::{State, Vendor};
pub use view::{CacheView, Foreign};
