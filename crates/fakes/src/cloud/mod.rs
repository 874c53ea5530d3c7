//! What fake clouds have in common: faults, rates, the pace of builds, answers and their relay. Knows no vendor.

mod build;
mod fault;
mod message;
mod mint;
mod rate;
mod relay;

pub use build::{BuildEnd, Pace};
pub use fault::Fault;
pub(crate) use fault::Faults;
pub(crate) use message::{Delivery, Reply};
pub use message::{Received, Refusal};
pub(crate) use mint::Mint;
pub(crate) use rate::Rate;
pub(crate) use relay::{Answering, serve};
