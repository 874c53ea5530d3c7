//! The store, volumes and mounts, as their users see them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod damage;
mod locks;
mod mounts;
mod store;
mod support;
mod volumes;
