//! Looking after what is kept: reading it back, and removing what nothing needs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use imagecache_blocks::{SnapshotStore, VerifyReport};
use imagecache_core::CacheId;

use crate::provider::LocalProvider;

/// How often [`LocalProvider::tend`] looks, and how seldom when something cannot be removed.
const TEND_INTERVAL: Duration = Duration::from_secs(60);
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);

impl LocalProvider {
    /// Where finished snapshots are kept.
    pub fn snapshots(&self) -> &Arc<dyn SnapshotStore> {
        &self.inner.shelf.snapshots
    }

    /// Re-reads what Ready caches keep, in the directory and elsewhere, and checks every digest; `only` limits it to one.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// Only what makes checking impossible. Damage is reported, not an error.
    pub fn verify(&self, only: Option<&CacheId>) -> imagecache_blocks::Result<VerifyReport> {
        let store = &self.inner.store;
        let mut report = imagecache_blocks::verify(store, only, &mut |_read| {})?;
        if self.inner.shelf.is_elsewhere() {
            let snapshots = self.snapshots().as_ref();
            imagecache_blocks::verify_published(store, snapshots, only, &mut report)?;
        }
        Ok(report)
    }

    /// Removes now and then what earlier processes, expiry and outages left outside the directory. Ends when there is nothing
    /// outside it, and with the provider, which it does not keep: a store is tidied when the last one lets go of it.
    pub async fn tend(provider: Weak<Self>) {
        let mut pause = TEND_INTERVAL;
        loop {
            let Some(inner) = provider.upgrade().map(|provider| Arc::clone(&provider.inner)) else {
                return;
            };
            if !inner.shelf.is_elsewhere() {
                return;
            }
            let collected = tokio::task::spawn_blocking(move || inner.shelf.collect_elsewhere(&inner.store));
            pause = match collected.await {
                Ok(true) => TEND_INTERVAL,
                Ok(false) => pause.saturating_mul(2).min(LONGEST_INTERVAL),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot clean up");
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}
