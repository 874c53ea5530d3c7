//! The account behind the APIs: snapshots, clock, rates, faults, and books about all that arrived.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::contents::Digest;
use super::fault::{Fault, Faults, Throttle, too_many_pending};
use super::rate::Bucket;
use super::refusal::Refusal;
use super::snapshot::{Snapshot, Status};
use super::start::Start;
use super::tokens::Tokens;
use super::verify::Verifier;
use super::{OWNER, Pages};
use crate::cloud::Mint;

/// Pending snapshots that an account may have, as AWS sets it at first.
const PENDING_QUOTA: usize = 100;

/// All that is known.
#[derive(Debug)]
pub(crate) struct Account {
    /// By order of their start.
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) verifier: Verifier,
    pub(crate) tokens: Tokens,
    pub(crate) mint: Mint,
    pub(crate) faults: Faults,
    pub(crate) rules: Rules,
    /// How the next completions end.
    pub(crate) ends: Vec<String>,
    pub(crate) calls: BTreeMap<String, usize>,
    pub(crate) rejected: BTreeMap<String, usize>,
    /// Bytes of blocks that were accepted.
    pub(crate) bytes: u64,
    offset: SignedDuration,
    buckets: HashMap<(String, Option<String>), Bucket>,
    /// Pages given out so far, for those that are empty.
    pub(crate) pages: usize,
}

/// What a test may set.
#[derive(Debug)]
pub(crate) struct Rules {
    /// How long each call of an action takes.
    pub(crate) latency: HashMap<String, Duration>,
    /// Calls a second of an action, for the account and for each snapshot.
    pub(crate) rates: HashMap<String, u32>,
    /// How long a new snapshot is not found.
    pub(crate) start_lag: SignedDuration,
    /// How long a completed snapshot is shown as pending.
    pub(crate) completion_lag: SignedDuration,
    pub(crate) pages: Pages,
    pub(crate) pending_quota: usize,
    pub(crate) encryption_by_default: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            latency: HashMap::new(),
            rates: HashMap::new(),
            start_lag: SignedDuration::ZERO,
            completion_lag: SignedDuration::ZERO,
            pages: Pages::Full,
            pending_quota: PENDING_QUOTA,
            encryption_by_default: false,
        }
    }
}

impl Account {
    pub(crate) fn new() -> Self {
        let mut mint = Mint::default();
        Self {
            snapshots: Vec::new(),
            verifier: Verifier::default(),
            tokens: Tokens::new(&mut mint),
            mint,
            faults: Faults::default(),
            rules: Rules::default(),
            ends: Vec::new(),
            calls: BTreeMap::new(),
            rejected: BTreeMap::new(),
            bytes: 0,
            offset: SignedDuration::ZERO,
            buckets: HashMap::new(),
            pages: 0,
        }
    }

    /// The service's time: the wall clock and what was added to it.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + self.offset
    }

    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.offset += by;
    }

    /// Lets time do its work; everything that looks at snapshots calls it first.
    pub(crate) fn tick(&mut self) -> Timestamp {
        let now = self.now();
        for snapshot in &mut self.snapshots {
            snapshot.tick(now, self.rules.completion_lag);
        }
        now
    }

    /// Counts a call that arrived; the fault that it meets.
    pub(crate) fn arrive(&mut self, action: &str) -> Option<Fault> {
        *self.calls.entry(action.to_owned()).or_default() += 1;
        self.faults.take(action)
    }

    pub(crate) fn reject(&mut self, refusal: &Refusal) {
        *self.rejected.entry(refusal.code.clone()).or_default() += 1;
    }

    /// Whether the rates allow one more call of an action now; it is counted only if they do.
    pub(crate) fn admit(&mut self, action: &str, snapshot: Option<&str>) -> Result<(), Refusal> {
        let Some(per_second) = self.rules.rates.get(action).copied() else {
            return Ok(());
        };
        let now = Instant::now();
        let own = snapshot.map(|id| (action.to_owned(), Some(id.to_owned())));
        let keys = [Some((action.to_owned(), None)), own];
        for key in keys.iter().flatten() {
            let bucket = self.buckets.entry(key.clone());
            if !bucket.or_insert_with(|| Bucket::new(per_second, now)).has(now) {
                let throttle = if key.1.is_some() {
                    Throttle::Resource
                } else {
                    Throttle::Account
                };
                return Err(throttle.refusal());
            }
        }
        for key in keys.iter().flatten() {
            if let Some(bucket) = self.buckets.get_mut(key) {
                bucket.take();
            }
        }
        Ok(())
    }

    /// Changes the rate of an action; buckets start full.
    pub(crate) fn set_rate(&mut self, action: &str, per_second: Option<u32>) {
        self.buckets.retain(|(of, _), _| of != action);
        match per_second {
            Some(per_second) => self.rules.rates.insert(action.to_owned(), per_second),
            None => self.rules.rates.remove(action),
        };
    }

    /// A snapshot that is there.
    pub(crate) fn find(&self, id: &str) -> Option<&Snapshot> {
        self.snapshots
            .iter()
            .find(|snapshot| snapshot.id == id && !snapshot.deleted)
    }

    /// A snapshot of this account that every part of the service knows by now.
    pub(crate) fn known(&mut self, id: &str) -> Result<&mut Snapshot, Refusal> {
        let now = self.tick();
        let lag = self.rules.start_lag;
        let visible = |snapshot: &&mut Snapshot| {
            snapshot.id == id && !snapshot.deleted && snapshot.owner == OWNER && now >= snapshot.started + lag
        };
        let found = self.snapshots.iter_mut().find(visible);
        found.ok_or_else(|| Refusal::unknown_snapshot(id))
    }

    /// A snapshot and its parents, youngest first, deleted ones too.
    pub(crate) fn lineage<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Snapshot> {
        let by_id = |id: &str| self.snapshots.iter().find(|snapshot| snapshot.id == id);
        std::iter::successors(by_id(id), move |snapshot| {
            snapshot.start.parent.as_deref().and_then(by_id)
        })
    }

    /// What a snapshot holds at an index, by itself or from its parents.
    pub(crate) fn block(&self, id: &str, index: u32) -> Option<Digest> {
        self.lineage(id)
            .find_map(|snapshot| snapshot.blocks.get(&index).copied())
    }

    /// All blocks of a snapshot from an index on, those of its parents too.
    pub(crate) fn blocks(&self, id: &str, from: u32) -> BTreeMap<u32, Digest> {
        let mut all = BTreeMap::new();
        for snapshot in self.lineage(id) {
            for (index, digest) in snapshot.blocks.range(from..) {
                all.entry(*index).or_insert(*digest);
            }
        }
        all
    }

    /// Starts a snapshot, or finds the one that was started with this client token, deleted or not; its id.
    pub(crate) fn start(&mut self, mut start: Start) -> Result<String, Refusal> {
        let now = self.tick();
        if let Some(token) = &start.client_token {
            let same = |snapshot: &&Snapshot| snapshot.start.client_token.as_ref() == Some(token);
            if let Some(first) = self.snapshots.iter().find(same) {
                if first.asked == start {
                    return Ok(first.id.clone());
                }
                let message = "The client token was used for a snapshot with other parameters.";
                return Err(Refusal::new(409, "ConflictException", None, message));
            }
        }
        let asked = start.clone();
        self.inherit(&mut start)?;
        let pending = |snapshot: &&Snapshot| snapshot.status == Status::Pending && !snapshot.deleted;
        if self.snapshots.iter().filter(pending).count() >= self.rules.pending_quota {
            return Err(too_many_pending());
        }
        let id = format!("snap-{}", self.mint.hex(17));
        self.snapshots.push(Snapshot::new(id.clone(), OWNER, asked, start, now));
        Ok(id)
    }

    /// What a snapshot has from its parent, and whether the parent may be one.
    fn inherit(&self, start: &mut Start) -> Result<(), Refusal> {
        let by_default = self.rules.encryption_by_default;
        let Some(parent) = &start.parent else {
            start.encrypted |= by_default;
            return Ok(());
        };
        let parent = self.find(parent).ok_or_else(|| Refusal::unknown_snapshot(parent))?;
        if parent.status != Status::Completed {
            let message = format!("The parent snapshot '{}' is {}.", parent.id, parent.status.as_str());
            return Err(Refusal::invalid("INVALID_SNAPSHOT_ID", message));
        }
        if start.gib < parent.start.gib {
            let message = format!("VolumeSize must be at least that of the parent, {}", parent.start.gib);
            return Err(Refusal::invalid("INVALID_VOLUME_SIZE", message));
        }
        if by_default && !parent.start.encrypted {
            let message = "The parent is not encrypted, and encryption by default is on for this account.";
            return Err(Refusal::parameter(message));
        }
        start.encrypted = parent.start.encrypted;
        start.kms_key.clone_from(&parent.start.kms_key);
        Ok(())
    }
}
