//! Tests of the harness itself.

// Helpers of tests, like tests themselves, say what went wrong by panicking.
#![allow(clippy::expect_used)]

mod compare;
mod reference;
mod runner;
