//! The fakes themselves: what they accept must be right, and what they refuse must be wrong.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are tests too"
)]

mod caches;
mod ebs;
mod faults;
mod foreign;
mod neighbours;
mod signatures;
mod support;
mod tke;
