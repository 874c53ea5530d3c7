//! The provider against a fake cloud.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod answers;
mod conformance;
mod credentials;
mod faults;
mod mark;
mod once;
mod options;
mod secrets;
mod states;
mod support;
