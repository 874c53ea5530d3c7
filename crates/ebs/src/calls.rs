//! One function for each call of the EBS direct APIs, and the patience that each needs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm, Tag};
use bytes::Bytes;
use imagecache_blocks::{BLOCK_BYTES, BlockDigest, Result};
use imagecache_core::chain;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::checksum::block_checksum;
use crate::config::EbsConfig;
use crate::connection::{Clients, Connection};
use crate::ec2::{Described, Selection};
use crate::pace::Pace;
use crate::retry::{Call, hedged};
use crate::trouble::{Action, Trouble};

/// Quota of ListSnapshotBlocks for an account.
const LISTS_PER_SECOND: u32 = 50;
/// Most blocks of a page.
const PAGE: i32 = 10_000;
const GIB: u64 = 1 << 30;
/// Minutes without a block after which EBS gives a snapshot up: the most there is, so that a controller can be away for long.
const TIMEOUT_MINUTES: i32 = 4_320;
/// A put counts as slow when it takes this many times what 95 of 100 take, within these bounds.
const SLOW_FACTOR: u32 = 3;
const SLOW: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(8);

/// What a snapshot is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewSnapshot<'a> {
    pub(crate) token: &'a str,
    pub(crate) device_bytes: u64,
    pub(crate) parent: Option<&'a str>,
    pub(crate) description: String,
    pub(crate) tags: Vec<(String, String)>,
}

/// The calls. Quotas of the account are shared by all uploads of the process.
#[derive(Debug)]
pub(crate) struct Calls {
    connection: Connection,
    pub(crate) config: EbsConfig,
    puts: Pace,
    gets: Pace,
    lists: Pace,
    latency: Latency,
    /// Blocks that may be in memory, over all uploads and reads of the process.
    pub(crate) room: Semaphore,
}

/// A snapshot that is being written or read, with its own quota.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) fresh_until: Option<Instant>,
    /// Once true, calls that are under way are the last.
    pub(crate) stop: AtomicBool,
    pace: Pace,
}

impl Target {
    fn call(&self, action: &'static str) -> Call<'_> {
        Call {
            action,
            what: &self.id,
            fresh_until: self.fresh_until,
            stop: Some(&self.stop),
        }
    }
}

impl Calls {
    pub(crate) fn new(config: EbsConfig, connection: Connection) -> Self {
        let pace = || Pace::new(config.blocks_per_second);
        Self {
            puts: pace(),
            gets: pace(),
            lists: Pace::new(LISTS_PER_SECOND),
            latency: Latency::default(),
            room: Semaphore::new(config.in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            connection,
            config,
        }
    }

    pub(crate) fn target(&self, id: &str, fresh_until: Option<Instant>) -> Target {
        Target {
            id: id.to_owned(),
            fresh_until,
            stop: AtomicBool::new(false),
            pace: Pace::new(self.config.snapshot_rate()),
        }
    }

    /// StartSnapshot; gives the id. The same token gives the same snapshot again.
    pub(crate) async fn start(&self, new: &NewSnapshot<'_>) -> Result<String, Trouble> {
        let clients = self.clients().await?;
        let tags: Vec<Tag> = new
            .tags
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        let gib = i64::try_from(new.device_bytes.div_ceil(GIB)).unwrap_or(i64::MAX);
        let started = Call::new(START, NEW)
            .run(|| async {
                let mut request = clients
                    .ebs
                    .start_snapshot()
                    .volume_size(gib)
                    .set_tags(Some(tags.clone()))
                    .description(&new.description)
                    .client_token(new.token)
                    .timeout(TIMEOUT_MINUTES);
                // Parent and encryption exclude each other: a child is encrypted as its parent is.
                request = match new.parent {
                    Some(parent) => request.parent_snapshot_id(parent),
                    None => request
                        .set_encrypted(self.config.kms_key.is_some().then_some(true).or(self.config.encrypted))
                        .set_kms_key_arn(self.config.kms_key.clone()),
                };
                request.send().await.map_err(Trouble::from)
            })
            .await?;
        let block_size = started.block_size.and_then(|size| u64::try_from(size).ok());
        if block_size != Some(BLOCK_BYTES) {
            let message = format!(
                "EBS starts a snapshot with blocks of {block_size:?} bytes; this program knows blocks of {BLOCK_BYTES}"
            );
            return Err(Trouble::unsupported(message));
        }
        let nameless = || Trouble::unanswered("EBS started a snapshot and did not tell its id");
        started.snapshot_id.ok_or_else(nameless)
    }

    async fn clients(&self) -> Result<&Clients, Trouble> {
        self.connection
            .clients()
            .await
            .map_err(|error| Trouble::configuration(&error))
    }

    /// PutSnapshotBlock, at the pace that account and snapshot allow, a slow one twice.
    pub(crate) async fn put(
        &self,
        target: &Target,
        index: u64,
        digest: &BlockDigest,
        bytes: &Bytes,
    ) -> Result<(), Trouble> {
        let clients = self.clients().await?;
        let (block, checksum) = (number(index)?, block_checksum(digest));
        target
            .call(PUT)
            .run(|| async {
                self.slots(target).await;
                if target.stop.load(Ordering::Relaxed) {
                    return Err(Trouble::unanswered("the upload ends"));
                }
                let sends = AtomicUsize::new(0);
                hedged(self.latency.slow(), || async {
                    // The first has its slot: waiting for one must not count as being slow, or throttling would double the calls.
                    if sends.fetch_add(1, Ordering::Relaxed) > 0 {
                        self.slots(target).await;
                    }
                    let begin = Instant::now();
                    let sent = clients
                        .ebs
                        .put_snapshot_block()
                        .snapshot_id(&target.id)
                        .block_index(block)
                        .data_length(BLOCK_BYTES as i32)
                        .checksum(&checksum)
                        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                        .block_data(ByteStream::from(bytes.clone()))
                        .send();
                    let answer = self.heed(sent.await.map_err(Trouble::from), &self.puts, target)?;
                    self.latency.note(begin.elapsed());
                    match answer.checksum {
                        Some(found) if found != checksum => Err(Trouble::unanswered(format!(
                            "block {index} was acknowledged with the checksum {found} instead of {checksum}"
                        ))),
                        _ => Ok(()),
                    }
                })
                .await
            })
            .await
    }

    /// Waits until account and snapshot have room for a put.
    async fn slots(&self, target: &Target) {
        self.puts.slot().await;
        target.pace.slot().await;
    }

    /// CompleteSnapshot for `count` blocks with this LINEAR checksum. An error comes with whether an earlier attempt, whose
    /// answer is not known, may have done it.
    pub(crate) async fn complete(&self, target: &Target, count: usize, checksum: &str) -> Result<(), (Trouble, bool)> {
        let clients = self.clients().await.map_err(|trouble| (trouble, false))?;
        let count = number(count as u64).map_err(|trouble| (trouble, false))?;
        let unclear = AtomicBool::new(false);
        let call = target.call(COMPLETE);
        let completed = call.run(|| async {
            let request = clients
                .ebs
                .complete_snapshot()
                .snapshot_id(&target.id)
                .changed_blocks_count(count)
                .checksum(checksum)
                .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear);
            let answer = request.send().await.map_err(Trouble::from);
            if answer.as_ref().is_err_and(|trouble| trouble.action == Action::Again) {
                unclear.store(true, Ordering::Relaxed);
            }
            answer
        });
        match completed.await {
            Ok(_) => Ok(()),
            Err(trouble) => Err((trouble, unclear.into_inner())),
        }
    }

    /// One page of ListSnapshotBlocks: index and token of blocks that were ever written, ascending, and where the next page is.
    /// A page may be short or empty and still not be the last one.
    pub(crate) async fn list_blocks(&self, target: &Target, page: Option<String>) -> Result<Page> {
        let call = target.call("ebs:ListSnapshotBlocks");
        let clients = self.connection.clients().await?;
        let found = call
            .finish(|| async {
                self.lists.slot().await;
                let request = clients
                    .ebs
                    .list_snapshot_blocks()
                    .snapshot_id(&target.id)
                    .max_results(PAGE);
                let sent = request.set_next_token(page.clone()).send().await;
                self.heed(sent.map_err(Trouble::from), &self.lists, target)
            })
            .await?;
        let of = |block: aws_sdk_ebs::types::Block| {
            let index = block.block_index.and_then(|index| u64::try_from(index).ok());
            index.zip(block.block_token)
        };
        Ok(Page {
            blocks: found.blocks.unwrap_or_default().into_iter().filter_map(of).collect(),
            next: found.next_token,
        })
    }

    /// GetSnapshotBlock; the bytes have the checksum that came with them.
    pub(crate) async fn get(&self, target: &Target, index: u64, token: &str) -> Result<Bytes, Trouble> {
        let clients = self.clients().await?;
        target
            .call(GET)
            .run(|| async {
                self.gets.slot().await;
                target.pace.slot().await;
                let request = clients
                    .ebs
                    .get_snapshot_block()
                    .snapshot_id(&target.id)
                    .block_index(number(index)?)
                    .block_token(token);
                let answer = self.heed(request.send().await.map_err(Trouble::from), &self.gets, target)?;
                let body = answer
                    .block_data
                    .collect()
                    .await
                    .map_err(|error| Trouble::unanswered(chain(&error)))?;
                let (bytes, checksum) = (body.into_bytes(), answer.checksum);
                let hashed = tokio::task::spawn_blocking(move || {
                    let right = bytes.len() as u64 == BLOCK_BYTES
                        && checksum.is_none_or(|checksum| checksum == block_checksum(&BlockDigest::of(&bytes)));
                    right.then_some(bytes)
                });
                hashed.await.ok().flatten().ok_or_else(|| Trouble::wrong_bytes(index))
            })
            .await
    }

    /// Describes a snapshot; `None` when there is none. One that was just started is waited for.
    pub(crate) async fn describe(&self, target: &Target) -> Result<Option<Described>> {
        let Clients { ec2, .. } = self.connection.clients().await?;
        match target
            .call(DESCRIBE)
            .run(|| ec2.describe_snapshots(Selection::Id(&target.id), None))
            .await
        {
            Ok((found, _)) => Ok(found.into_iter().find(|snapshot| snapshot.id == target.id)),
            Err(trouble) if trouble.is_gone() => Ok(None),
            Err(trouble) => Err(trouble.into_error(DESCRIBE, &target.id)),
        }
    }

    /// Every snapshot of this account with this tag.
    pub(crate) async fn tagged(&self, key: &str, value: &str) -> Result<Vec<Described>> {
        let Clients { ec2, .. } = self.connection.clients().await?;
        let call = Call::new(DESCRIBE, "the snapshots of this store");
        let mut all = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let (page, more) = call
                .finish(|| ec2.describe_snapshots(Selection::Tag(key, value), next.as_deref()))
                .await?;
            all.extend(page);
            next = more;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// DeleteSnapshot; one that is not there is fine.
    pub(crate) async fn delete(&self, id: &str) -> Result<()> {
        let Clients { ec2, .. } = self.connection.clients().await?;
        let call = Call::new("ec2:DeleteSnapshot", id);
        match call.run(|| ec2.delete_snapshot(id)).await {
            Err(trouble) if !trouble.is_gone() => Err(trouble.into_error(call.action, id)),
            _ => Ok(()),
        }
    }

    /// Slows down as the service says: the account's pace, or the snapshot's.
    fn heed<T>(&self, answer: Result<T, Trouble>, account: &Pace, target: &Target) -> Result<T, Trouble> {
        if let Err(trouble) = &answer
            && trouble.action == Action::SlowDown
        {
            match trouble.reason.as_deref() {
                Some(RESOURCE_THROTTLE) => target.pace.throttled(),
                _ => account.throttled(),
            }
        }
        answer
    }
}

/// A page of a list of blocks.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) blocks: Vec<(u64, String)>,
    pub(crate) next: Option<String>,
}

pub(crate) const START: &str = "ebs:StartSnapshot";
/// What a snapshot is called before it has an id.
pub(crate) const NEW: &str = "a new snapshot";
pub(crate) const PUT: &str = "ebs:PutSnapshotBlock";
pub(crate) const GET: &str = "ebs:GetSnapshotBlock";
pub(crate) const COMPLETE: &str = "ebs:CompleteSnapshot";
pub(crate) const DESCRIBE: &str = "ec2:DescribeSnapshots";
/// The reason of a throttled call when the quota of one snapshot is used up.
const RESOURCE_THROTTLE: &str = "RESOURCE_LEVEL_THROTTLE";

fn number(index: u64) -> Result<i32, Trouble> {
    i32::try_from(index).map_err(|_| {
        Trouble::refused(
            400,
            "ValidationException",
            None,
            "a volume of EBS has at most 2^31 blocks",
            None,
        )
    })
}

/// What 95 of 100 puts take, followed as they come.
#[derive(Debug)]
struct Latency(Mutex<f64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Mutex::new(SLOW.start().as_secs_f64()))
    }
}

impl Latency {
    fn note(&self, took: Duration) {
        let mut estimate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Stochastic quantile: it rests where 5 of 100 are above.
        let step = *estimate * 0.1;
        *estimate += if took.as_secs_f64() > *estimate {
            step * 0.95
        } else {
            -step * 0.05
        };
    }

    /// When a put counts as slow.
    fn slow(&self) -> Duration {
        let estimate = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_secs_f64(estimate)
            .saturating_mul(SLOW_FACTOR)
            .clamp(*SLOW.start(), *SLOW.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_follows_the_slow_ones() {
        let latency = Latency::default();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            latency.note(Duration::from_secs_f64(random.f64()));
        }
        let found = latency.slow().as_secs_f64() / f64::from(SLOW_FACTOR);
        assert!((0.88..=1.05).contains(&found), "{found}");
        (0..20_000).for_each(|_| latency.note(Duration::from_millis(1)));
        assert_eq!(latency.slow(), *SLOW.start());
    }
}
