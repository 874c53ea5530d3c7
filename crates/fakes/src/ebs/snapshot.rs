//! One snapshot: its blocks, its state, and what time does to it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::contents::Digest;
use super::refusal::Refusal;
use super::start::Start;
use super::{BLOCKS_PER_GIB, Puts, SnapshotView};

/// Where a snapshot is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Completed,
    /// And why, for people.
    Error(String),
}

impl Status {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error(_) => "error",
        }
    }
}

/// A snapshot that was started once; a deleted one stays for those that descend from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) owner: String,
    /// What was asked for, to tell a repeated call from another one with the same token.
    pub(crate) asked: Start,
    /// What was asked for, and what the parent and the account add to it.
    pub(crate) start: Start,
    pub(crate) status: Status,
    pub(crate) started: Timestamp,
    /// When a block came last.
    pub(crate) touched: Timestamp,
    /// Blocks put into this snapshot, not those of its parents.
    pub(crate) blocks: BTreeMap<u32, Digest>,
    pub(crate) puts: BTreeMap<u32, Puts>,
    /// Percent, as the writer said.
    pub(crate) progress: u8,
    /// When it was completed, and what becomes of it.
    pub(crate) sealed: Option<(Timestamp, Status)>,
    pub(crate) deleted: bool,
    /// An image of machines needs it.
    pub(crate) in_use: bool,
}

impl Snapshot {
    pub(crate) fn new(id: String, owner: &str, asked: Start, start: Start, now: Timestamp) -> Self {
        Self {
            id,
            owner: owner.to_owned(),
            asked,
            start,
            status: Status::Pending,
            started: now,
            touched: now,
            blocks: BTreeMap::new(),
            puts: BTreeMap::new(),
            progress: 0,
            sealed: None,
            deleted: false,
            in_use: false,
        }
    }

    /// How many blocks the volume has room for.
    pub(crate) fn blocks_of_volume(&self) -> u64 {
        self.start.gib * BLOCKS_PER_GIB
    }

    /// Lets time pass: a sealed snapshot settles after `lag`, an open one that nobody writes to is given up.
    pub(crate) fn tick(&mut self, now: Timestamp, lag: SignedDuration) {
        if self.status != Status::Pending {
            return;
        }
        match &self.sealed {
            Some((at, end)) => {
                if now >= *at + lag {
                    self.status = end.clone();
                }
            }
            None => {
                let minutes = i64::try_from(self.start.timeout_minutes).unwrap_or(i64::MAX);
                if now >= self.touched + SignedDuration::from_mins(minutes) {
                    self.status = Status::Error("The snapshot timed out before it was completed.".to_owned());
                }
            }
        }
    }

    /// Whether blocks may be put.
    pub(crate) fn check_open(&self) -> Result<(), Refusal> {
        match (&self.status, &self.sealed) {
            (Status::Pending, None) => Ok(()),
            (status, _) => Err(Refusal::invalid(
                "INVALID_SNAPSHOT_ID",
                format!("The snapshot '{}' is {} and takes no blocks.", self.id, status.as_str()),
            )),
        }
    }

    /// Completes it if count and checksum are those of the blocks that were put.
    pub(crate) fn seal(
        &mut self,
        count: u64,
        checksum: Option<&str>,
        end: Status,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.status != Status::Pending {
            let message = format!("The snapshot '{}' is already {}.", self.id, self.status.as_str());
            return Err(Refusal::invalid("INVALID_SNAPSHOT_ID", message));
        }
        let put = self.blocks.len() as u64;
        if count != put {
            let message = format!("ChangedBlocksCount is {count}, and {put} blocks were put");
            return Err(Refusal::parameter(message));
        }
        if checksum.is_some_and(|checksum| checksum != linear(&self.blocks)) {
            return Err(Refusal::parameter("Checksum is not that of the blocks that were put"));
        }
        // Again, while it is on its way: the first call's answer may have been lost.
        self.sealed.get_or_insert((now, end));
        Ok(())
    }

    pub(crate) fn view(&self) -> SnapshotView {
        SnapshotView {
            id: self.id.clone(),
            status: self.status.as_str().to_owned(),
            gib: self.start.gib,
            parent: self.start.parent.clone(),
            encrypted: self.start.encrypted,
            kms_key: self.start.kms_key.clone(),
            description: self.start.description.clone(),
            client_token: self.start.client_token.clone(),
            timeout_minutes: self.start.timeout_minutes,
            tags: self.start.tags.clone(),
            started: self.started,
            sealed: self.sealed.as_ref().map(|(at, _)| *at),
            blocks: self.blocks.keys().copied().collect(),
            puts: self.puts.clone(),
        }
    }
}

/// The aggregate of the method `LINEAR`: SHA-256 over the digests in the order of their indexes, in base64.
pub(crate) fn linear(blocks: &BTreeMap<u32, Digest>) -> String {
    let mut whole = Sha256::new();
    for digest in blocks.values() {
        whole.update(digest);
    }
    STANDARD.encode(whole.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::BLOCK_BYTES;
    use super::*;

    /// Computed apart from this code, from the rule in AWS's description of `CompleteSnapshot`.
    #[test]
    fn the_linear_checksum_skips_gaps() {
        let digest = |bytes: Vec<u8>| -> Digest { Sha256::digest(bytes).into() };
        let zeros = digest(vec![0; BLOCK_BYTES]);
        let rising = (0..=u8::MAX).cycle().take(BLOCK_BYTES).collect();
        let three = [(0, zeros), (1, digest(vec![1; BLOCK_BYTES])), (5, digest(rising))];
        for (name, blocks, expected) in [
            (
                "one block",
                BTreeMap::from([(0, zeros)]),
                "3QyamIjs9/uk1ge+ZPpwA6Yo7YmArJ8I121qDaF+DcI=",
            ),
            (
                "with a gap",
                BTreeMap::from(three),
                "9fRvcReKlrAS69v68MSsIee7Gyc8r4IoooKMGndohvY=",
            ),
        ] {
            assert_eq!(linear(&blocks), expected, "{name}");
        }
    }
}
