//! Integration tests: real clients against a server on loopback.

mod client;
mod kubectl;
mod raw;
mod support;
