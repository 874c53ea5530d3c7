//! The puller against registries that are honest, broken or lying.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod access;
mod auth;
mod faults;
mod files;
mod hosts;
mod images;
mod real;
mod support;
mod token;
