//! Tests of the dialects and their resource definitions.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod definitions;
mod parsing;
mod pods;
mod profiles;
mod rendering;
