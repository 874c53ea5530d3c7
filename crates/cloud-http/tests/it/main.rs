//! Calls against a server that answers from a script, and the parts of a call with their clocks in hand.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are tests too"
)]

mod clock;
mod credentials;
mod limiter;
mod proxy;
mod retries;
mod secrets;
mod support;
mod transport;
