//! The snapshotter as containerd uses it, without containerd; its mirror and metrics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod cached;
mod metrics;
mod mirror;
mod snapshots;
mod stores;
mod support;
#[path = "../../src/tiny_image.rs"]
mod tiny_image;

use std::time::Duration;

/// Longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, met).await.is_ok(),
        "waited in vain for {what}"
    );
}
