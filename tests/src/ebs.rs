//! AWS EBS as the scenarios for it need to know it: a fake account, and the local provider that keeps its snapshots there.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use imagecache_fakes::ebs::{BLOCK_BYTES, FakeEbs, SnapshotView};

use crate::binary::Binary;
use crate::context::Context;
use crate::plane::BUILD_LIMIT;
use crate::wait;

/// Where the provider notes which blocks EBS acknowledged, below its store.
pub const JOURNALS: &str = "uploads";

/// A fake account, and how to reach it.
pub struct Ebs {
    /// The account itself, to look at what it was asked or to make it misbehave.
    pub fake: FakeEbs,
}

impl Ebs {
    /// An account without snapshots, whose puts take so long.
    pub async fn start(put_latency: Duration) -> Result<Self> {
        let fake = FakeEbs::start().await?;
        fake.set_latency("PutSnapshotBlock", put_latency);
        Ok(Self { fake })
    }

    /// A binary that keeps its snapshots in this account.
    pub fn binary(&self, binary: Binary) -> Binary {
        let kind = ("IMAGECACHE_LOCAL__STORE__KIND", "ebs".to_owned());
        binary
            .with_environment(self.fake.environment())
            .with_environment([kind])
    }

    /// The only snapshot there is; fails if there is none, more, or it is not completed.
    pub fn only_snapshot(&self) -> Result<SnapshotView> {
        let mut snapshots = self.fake.snapshots();
        let found = snapshots.len();
        match snapshots.pop() {
            Some(snapshot) if found == 1 && snapshot.status == "completed" => Ok(snapshot),
            _ => bail!(
                "there should be one completed snapshot, and there are {:?}",
                self.statuses()
            ),
        }
    }

    /// Waits until the account has so many snapshots.
    pub async fn wait_snapshots(&self, count: usize) -> Result<()> {
        wait::until(&format!("{count} snapshots"), BUILD_LIMIT, async || {
            let statuses = self.statuses();
            Ok(if statuses.len() == count {
                Ok(())
            } else {
                Err(format!("{statuses:?}"))
            })
        })
        .await
    }

    /// Fails unless a volume made of the snapshot starts with the bytes of `exported`, and holds nothing else.
    pub fn holds(&self, id: &str, exported: &Path) -> Result<()> {
        let file = File::open(exported).with_context(|| format!("cannot open {}", exported.display()))?;
        let blocks = file.metadata()?.len().div_ceil(BLOCK_BYTES as u64);
        ensure!(blocks > 0, "{} is empty", exported.display());
        for index in 0..u32::try_from(blocks)? {
            let mut expected = vec![0; BLOCK_BYTES];
            read_up_to(&file, &mut expected, u64::from(index) * BLOCK_BYTES as u64)?;
            ensure!(
                self.fake.volume_block(id, index)? == expected,
                "block {index} of snapshot {id} is not that of the exported volume"
            );
        }
        let view = self
            .fake
            .snapshot(id)
            .with_context(|| format!("there is no snapshot {id}"))?;
        let beyond = view.blocks.iter().filter(|index| u64::from(**index) >= blocks);
        for index in beyond {
            let empty = self.fake.volume_block(id, *index)?.iter().all(|byte| *byte == 0);
            ensure!(
                empty,
                "block {index} of snapshot {id} is behind the volume's end and not empty"
            );
        }
        Ok(())
    }

    fn statuses(&self) -> Vec<(String, String)> {
        let snapshots = self.fake.snapshots().into_iter();
        snapshots.map(|snapshot| (snapshot.id, snapshot.status)).collect()
    }
}

/// The blocks that the journal of a cache names as acknowledged.
pub fn journalled(store: &Path, id: &str) -> Result<Vec<u32>> {
    let text = match std::fs::read_to_string(store.join(JOURNALS).join(format!("{id}.journal"))) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    // A last line without its end is one that was being written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let index = |line: &str| line.split_once(' ')?.0.parse().ok();
    Ok(whole.lines().filter_map(index).collect())
}

/// Whether two files hold the same bytes; what one is longer must be zeros.
pub fn same_bytes(one: &Path, other: &Path) -> Result<()> {
    let (one_file, other_file) = (File::open(one)?, File::open(other)?);
    let length = one_file.metadata()?.len().max(other_file.metadata()?.len());
    let (mut left, mut right) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    for at in (0..length).step_by(BLOCK_BYTES) {
        left.fill(0);
        right.fill(0);
        read_up_to(&one_file, &mut left, at)?;
        read_up_to(&other_file, &mut right, at)?;
        ensure!(
            left == right,
            "{} and {} differ in the 512 KiB from byte {at}",
            one.display(),
            other.display()
        );
    }
    Ok(())
}

/// A binary with a store of its own in the scenario's directory, keeping its snapshots in an account.
pub fn fresh_binary(context: &Context, ebs: &Ebs, store: &str) -> Binary {
    ebs.binary(context.binary_over(&context.dir.join(store)))
}

/// Reads as much as there is.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> Result<()> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(())
}
