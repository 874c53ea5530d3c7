//! The store against a fake EBS: what arrives, what is sent again, and what goes wrong.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod ahead;
mod claims;
mod faults;
mod lineage;
mod reading;
mod removal;
mod resume;
mod support;
