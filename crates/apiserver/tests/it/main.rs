//! Integration tests: real clients against a server on loopback.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod kubectl;
mod raw;
mod support;
