//! Sending parts of a volume while others are still being built.
//!
//! What is sent is written to the journal with its digest, and nothing else is remembered: publishing goes on from the journal
//! as after a kill. Places that turn out to be others, or a volume that turns out to be larger, cost time and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use imagecache_blocks::{Feed, PartFeed, PlacedPart, Result, VolumeReader};
use tokio::time::{Duration, sleep};

use crate::journal::Journal;
use crate::session::{Found, Session};
use crate::upload::{Block, Meter, Next, Stopped, send_blocks};
use crate::wanted::known_blocks;

/// How often a feed is asked that has nothing yet.
const LOOK: Duration = Duration::from_millis(100);

/// Sends what `feed` has until it ends.
pub(crate) async fn send_ahead(session: &Session<'_>, feed: &dyn PartFeed) -> Result<()> {
    let first = loop {
        if session.watch.is_cancelled() {
            return Err(session.cancelled());
        }
        match feed.next() {
            Feed::Part(part) => break part,
            Feed::Later => sleep(LOOK).await,
            Feed::End => return Ok(()),
        }
    };
    let Some(journal) = open(session, feed).await? else {
        return Ok(());
    };
    let progress = journal.progress();
    let Some(started) = progress.snapshot.clone() else {
        return Ok(());
    };
    let inherited = match &journal.header.parent {
        Some(parent) => {
            let manifest = session.parent_manifest(parent)?;
            manifest.map(|manifest| known_blocks(&manifest, parent.published.volume_bytes))
        }
        None => None,
    };
    let inherited = inherited.unwrap_or_default();
    let mut waiting: VecDeque<Block> = VecDeque::new();
    let take = |part: &PlacedPart, waiting: &mut VecDeque<Block>| -> Result<()> {
        let reader = Arc::new(VolumeReader::of_part(session.store, part)?);
        let last = journal.header.device_bytes / imagecache_blocks::BLOCK_BYTES;
        let blocks = (part.first_block..last).zip(&part.digests);
        let is_missing = |(index, digest): &(u64, &_)| {
            inherited.get(index) != Some(*digest) && progress.acknowledged.get(index) != Some(*digest)
        };
        waiting.extend(blocks.filter(is_missing).map(|(index, digest)| Block {
            index,
            digest: *digest,
            reader: Arc::clone(&reader),
        }));
        Ok(())
    };
    take(&first, &mut waiting)?;
    let mut queue = || loop {
        if let Some(block) = waiting.pop_front() {
            return Ok(Next::Block(block));
        }
        match feed.next() {
            Feed::Part(part) => take(&part, &mut waiting)?,
            Feed::Later => return Ok(Next::Later),
            Feed::End => return Ok(Next::End),
        }
    };
    let mut meter = Meter::new(0, 0);
    let target = session.target(&started);
    match send_blocks(session.calls, target, &journal, &mut queue, &mut meter, session.watch).await {
        Err(Stopped::Error(error) | Stopped::Refused(error)) => Err(error),
        // Publishing finds that out as well, and starts another one.
        Err(Stopped::Gone(_)) | Ok(()) => Ok(()),
    }
}

/// The journal of a snapshot that takes blocks; `None` when publishing has to see first what becomes of it.
async fn open(session: &Session<'_>, feed: &dyn PartFeed) -> Result<Option<Journal>> {
    let earlier = session.earlier()?;
    let mut journal = match earlier {
        Some(journal) if journal.header.index == *session.purpose.index => {
            let progress = journal.progress();
            let is_open = journal.header.manifest.is_none() && progress.completing.is_none();
            if !is_open || progress.shared.is_some() || !session.knows_parent(&journal)? {
                return Ok(None);
            }
            journal
        }
        _ => session.begin(session.parent().await?, feed.expected_bytes())?,
    };
    match journal.progress().snapshot {
        None => session.start(&mut journal).await?,
        Some(started) => {
            if !matches!(session.find(&session.target(&started)).await?, Found::Pending) {
                return Ok(None);
            }
        }
    }
    Ok(Some(journal))
}
