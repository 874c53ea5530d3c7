//! Integration tests: real clients against a server on loopback.

#![recursion_limit = "256"]

mod client;
mod kubectl;
mod raw;
mod support;
