//! Tests of the image writers and the reader, from outside.

// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

mod hostile;
mod kernel;
mod layers;
mod patches;
mod properties;
