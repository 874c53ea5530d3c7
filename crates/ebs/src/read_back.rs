//! Reading a snapshot back through the EBS direct APIs, many blocks at a time, and comparing every one with the manifest.

use std::sync::Arc;

use bytes::Bytes;
use imagecache_blocks::{BlockDigest, BlockVisitor, Result, SnapshotManifest};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;

use crate::calls::{Calls, GET, Target};
use crate::trouble::Trouble;
use crate::upload::task_died;

/// A block as it was answered, or why it could not be read.
type Answer = (u64, Result<(Bytes, BlockDigest), Trouble>);

/// Reads the snapshot `id`, a page of its list at a time. The visitor is called on this thread.
pub(crate) async fn read_back(
    calls: &Arc<Calls>,
    id: &str,
    manifest: &SnapshotManifest,
    visitor: &dyn BlockVisitor,
) -> Result<()> {
    let target = Arc::new(calls.target(id, None));
    let mut expected = manifest
        .extents
        .iter()
        .flat_map(|extent| extent.first_block..extent.first_block + extent.blocks)
        .peekable();
    let never_written = |index| visitor.damaged(id, index, "it was never written");
    let mut running: JoinSet<Result<Answer>> = JoinSet::new();
    let mut next = None;
    loop {
        let page = calls.list_blocks(&target, next).await?;
        for (index, token) in page.blocks {
            // Both ascend.
            while let Some(missing) = expected.next_if(|expected| *expected < index) {
                never_written(missing)?;
            }
            expected.next_if_eq(&index);
            while running.len() >= calls.config.in_flight.max(1)
                && let Some(ended) = running.join_next().await
            {
                compare(ended.map_err(|died| task_died(&died))??, id, manifest, visitor)?;
            }
            running.spawn(read(Arc::clone(calls), Arc::clone(&target), index, token));
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    expected.try_for_each(never_written)?;
    while let Some(ended) = running.join_next().await {
        compare(ended.map_err(|died| task_died(&died))??, id, manifest, visitor)?;
    }
    Ok(())
}

async fn read(calls: Arc<Calls>, target: Arc<Target>, index: u64, token: String) -> Result<Answer> {
    let _room: Result<SemaphorePermit<'_>, _> = calls.room.acquire().await;
    let bytes = match calls.get(&target, index, &token).await {
        Ok(bytes) => bytes,
        Err(trouble) => return Ok((index, Err(trouble))),
    };
    let hashed = tokio::task::spawn_blocking(move || (BlockDigest::of(&bytes), bytes));
    let (digest, bytes) = hashed.await.map_err(|died| task_died(&died))?;
    Ok((index, Ok((bytes, digest))))
}

fn compare((index, answer): Answer, id: &str, manifest: &SnapshotManifest, visitor: &dyn BlockVisitor) -> Result<()> {
    // What lies beyond the volume, or is no longer mapped, is zero.
    let expected = manifest.digest(index).unwrap_or(BlockDigest::ZERO);
    match answer {
        Ok((bytes, found)) if found == expected => visitor.block(index, &bytes),
        Ok(_) => {
            let reason = format!("it does not have the digest that {} lists", manifest.id);
            visitor.damaged(id, index, &reason)
        }
        // The others can be right.
        Err(trouble) if trouble.is_damage() => {
            let reason = trouble.into_error(GET, &format!("block {index}")).to_string();
            visitor.damaged(id, index, &reason)
        }
        Err(trouble) => Err(trouble.into_error(GET, &format!("block {index} of snapshot {id}"))),
    }
}
