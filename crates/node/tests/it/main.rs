//! The snapshotter as containerd uses it, without containerd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod cached;
mod snapshots;
mod stores;
mod support;
#[path = "../../src/tiny_image.rs"]
mod tiny_image;
