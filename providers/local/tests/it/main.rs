//! The local provider against an in-process registry.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod builds;
mod conformance;
mod content;
mod ebs;
mod faults;
mod layout;
mod processes;
mod support;
