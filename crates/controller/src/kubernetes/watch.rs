//! Watches every cache with one listing an interval.

use std::time::Duration;

use imagecache_core::{CacheProvider, Error, Failure, with_causes};
use tokio::time::Instant;
use tracing::{info, warn};

use super::context::Shared;
use super::health::Health;
use super::orphans::Sweeper;
use super::policy;

/// With no build running only other processes change caches: looking this many times more seldom is soon enough.
const IDLE_FACTOR: u32 = 10;

/// How caches are watched.
#[derive(Debug)]
pub(super) struct Watching {
    /// Between two listings while something moves.
    pub(super) poll_interval: Duration,
    /// Whether caches of objects that are gone are removed.
    pub(super) remove_orphans: bool,
}

/// Lists all caches until it is dropped.
pub(super) async fn watch(provider: &dyn CacheProvider, shared: &Shared, watching: &Watching, health: &Health) {
    let (states, metrics) = (&shared.states, &shared.metrics);
    let poll_interval = watching.poll_interval;
    let mut orphans = Sweeper::default();
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let result = provider.list().await;
        metrics.provider_call("list", result.as_ref().err());
        let wait = match result {
            Ok(listed) => {
                if failures > 0 {
                    info!("the provider lists its caches again");
                }
                failures = 0;
                states.listed(listed, started);
                health.listed();
                if watching.remove_orphans {
                    orphans.sweep(provider, shared).await;
                }
                let census = states.census();
                metrics.caches(&census);
                if census.moving {
                    poll_interval
                } else {
                    poll_interval * IDLE_FACTOR
                }
            }
            Err(error) => {
                if failures == 0 {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot list caches, the last known states stay"
                    );
                }
                states.listing_failed(failure(&error));
                let delay = policy::delay(error.kind(), failures, error.retry_after());
                failures += 1;
                // Even a mistake in the configuration may be mended from outside, for example by a new credential.
                delay.unwrap_or(poll_interval * IDLE_FACTOR).max(poll_interval)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = states.changed_by_us(), if failures == 0 => {
                // Many builds started at once still cost one listing an interval.
                tokio::time::sleep(poll_interval.saturating_sub(started.elapsed())).await;
            }
        }
    }
}

/// What users are told about `error`: its message, its cause if the message leaves that out, and the vendor's request id.
pub(super) fn failure(error: &Error) -> Failure {
    let mut message = with_causes(error.message().to_owned(), error);
    if let Some(id) = error.request_id() {
        message = format!("{message} (request id {id})");
    }
    Failure {
        kind: error.kind(),
        // A condition and an event are one line.
        message: message.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
