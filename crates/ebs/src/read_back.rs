//! Reading a snapshot back through the EBS direct APIs, many blocks at a time, and comparing every one with the manifest.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use imagecache_blocks::{BlockDigest, BlockVisitor, Result, SnapshotManifest};
use tokio::task::JoinSet;

use crate::calls::Calls;
use crate::upload::task_died;

/// Reads the snapshot `id`. The visitor is called on this thread.
pub(crate) async fn read_back(
    calls: &Arc<Calls>,
    id: &str,
    manifest: &SnapshotManifest,
    visitor: &dyn BlockVisitor,
) -> Result<()> {
    let target = Arc::new(calls.target(id, None));
    let listed = calls.list_blocks(&target).await?;
    let present: BTreeSet<u64> = listed.iter().map(|(index, _)| *index).collect();
    for index in manifest
        .extents
        .iter()
        .flat_map(|extent| extent.first_block..extent.first_block + extent.blocks)
    {
        if !present.contains(&index) {
            visitor.damaged(id, index, "it was never written")?;
        }
    }
    let mut waiting = listed.into_iter();
    let mut running: JoinSet<Result<(u64, Bytes, BlockDigest)>> = JoinSet::new();
    loop {
        while running.len() < calls.config.in_flight.max(1)
            && let Some((index, token)) = waiting.next()
        {
            let (calls, target) = (Arc::clone(calls), Arc::clone(&target));
            running.spawn(async move {
                let bytes = calls.get(&target, index, &token).await?;
                let hashed = tokio::task::spawn_blocking(move || (BlockDigest::of(&bytes), bytes));
                let (digest, bytes) = hashed.await.map_err(|died| task_died(&died))?;
                Ok((index, bytes, digest))
            });
        }
        let Some(ended) = running.join_next().await else {
            return Ok(());
        };
        let (index, bytes, found) = ended.map_err(|died| task_died(&died))??;
        // What lies beyond the volume, or is no longer mapped, is zero.
        if found == manifest.digest(index).unwrap_or(BlockDigest::ZERO) {
            visitor.block(index, &bytes)?;
        } else {
            visitor.damaged(
                id,
                index,
                &format!("it does not have the digest that {} lists", manifest.id),
            )?;
        }
    }
}
