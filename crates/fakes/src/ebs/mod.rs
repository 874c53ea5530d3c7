//! The EBS direct APIs and the two calls of EC2 that go with them, over a real TCP listener, with faults on demand.
//!
//! A server of its own rather than a mock: uploads are measured against it, a thousand blocks a second.

mod account;
mod contents;
mod ec2;
mod fault;
mod rate;
mod read;
mod refusal;
mod server;
mod snapshot;
mod start;
mod tokens;
mod verify;
mod write;
mod xml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

pub use fault::{Fault, Throttle};

use crate::cloud::{Key, StsKey};
use account::Account;
use server::{Cloud, serve};
use snapshot::{Snapshot, Status};
use start::Start;

/// Bytes of a block, the only length there is.
pub const BLOCK_BYTES: usize = 512 * 1024;
const BLOCKS_PER_GIB: u64 = 2_048;
const REGION: &str = "eu-central-1";
/// The account that all keys belong to.
const OWNER: &str = "123456789012";
/// Another one.
const STRANGER: &str = "999999999999";

/// One snapshot, as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotView {
    /// `snap-…`
    pub id: String,
    /// `pending`, `completed`, `error`.
    pub status: String,
    /// GiB of the volume.
    pub gib: u64,
    /// The snapshot that it builds on.
    pub parent: Option<String>,
    /// Whether its blocks are encrypted.
    pub encrypted: bool,
    /// The key that was asked for.
    pub kms_key: Option<String>,
    /// Text for people.
    pub description: Option<String>,
    /// What makes a repeated start the same.
    pub client_token: Option<String>,
    /// Minutes without a block after which it is given up.
    pub timeout_minutes: u64,
    /// In the order they were given.
    pub tags: Vec<(String, String)>,
    /// When it was started.
    pub started: Timestamp,
    /// When CompleteSnapshot was accepted.
    pub sealed: Option<Timestamp>,
    /// Indexes of the blocks that were put into it, without those of its parents.
    pub blocks: Vec<u32>,
    /// How often each index was put.
    pub puts: BTreeMap<u32, Puts>,
}

impl SnapshotView {
    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        let mut tags = self.tags.iter();
        tags.find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }
}

/// How often a block of one index was put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Puts {
    /// Times that it became part of the snapshot.
    pub accepted: usize,
    /// Times that the whole, true answer was sent; a fault can keep it from the client.
    pub acknowledged: usize,
}

/// How lists of blocks are cut into pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// As many entries as the client wants.
    Full,
    /// At most so many entries.
    Short(usize),
    /// At most so many entries, and every other page has none.
    ShortAndEmpty(usize),
}

/// A running account with its snapshots. Dropping it closes the listener.
#[derive(Debug)]
pub struct FakeEbs {
    address: SocketAddr,
    cloud: Arc<Cloud>,
    key: [String; 2],
    task: tokio::task::JoinHandle<()>,
}

impl FakeEbs {
    /// Starts an account without snapshots on a free loopback port.
    ///
    /// # Errors
    ///
    /// When there is no free port, or no room for temporary files.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts an account without snapshots at an address.
    ///
    /// # Errors
    ///
    /// When the address is taken, or there is no room for temporary files.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let cloud = Arc::new(Cloud::new()?);
        let key = {
            let mint = &mut cloud.account().mint;
            [format!("AKIA{}", mint.hex(16).to_uppercase()), mint.hex(40)]
        };
        let task = tokio::spawn(serve(listener, Arc::clone(&cloud)));
        let fake = Self {
            address,
            cloud,
            key,
            task,
        };
        fake.add_access_key(&fake.key[0], &fake.key[1]);
        Ok(fake)
    }

    /// Where both services are: `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The region it serves.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The account's number.
    pub fn owner(&self) -> &'static str {
        OWNER
    }

    /// A permanent key: id and secret.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.key[0], &self.key[1])
    }

    /// Lets another permanent key call.
    pub fn add_access_key(&self, id: &str, secret: &str) {
        self.account().verifier.keys.permit(id, secret);
    }

    /// Takes a key away.
    pub fn remove_access_key(&self, id: &str) {
        self.account().verifier.keys.0.remove(id);
    }

    /// A temporary key, until the service's time says that it has ended.
    pub fn issue_key(&self, lifetime: Duration) -> StsKey {
        let mut account = self.account();
        let expires = account.now() + lifetime;
        let mint = &mut account.mint;
        let key = StsKey {
            id: format!("ASIA{}", mint.hex(16).to_uppercase()),
            secret: mint.hex(40),
            token: mint.hex(64),
            expires,
        };
        let known = Key {
            secret: key.secret.clone(),
            session: Some((key.token.clone(), expires)),
        };
        account.verifier.keys.0.insert(key.id.clone(), known);
        key
    }

    /// Every secret in play.
    pub fn secrets(&self) -> Vec<String> {
        self.account().verifier.keys.secrets()
    }

    /// What a client needs to know, as environment variables of the AWS SDKs.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", self.key[0].clone()),
            ("AWS_SECRET_ACCESS_KEY", self.key[1].clone()),
        ]
    }

    /// The service's time: the wall clock and what was added to it.
    pub fn now(&self) -> Timestamp {
        self.account().now()
    }

    /// Lets time pass for snapshots, tokens and temporary keys; signatures are still compared with the wall clock.
    pub fn advance(&self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or_default();
        self.account().advance(by);
    }

    /// What goes wrong with the next calls of an action. Of several faults, the oldest that is not used up is met.
    pub fn inject(&self, action: &str, fault: Fault, times: usize) {
        self.account().faults.push(action, fault, Some(times), 1);
    }

    /// What goes wrong with one in so many calls of an action, until all is healed.
    pub fn inject_every(&self, action: &str, fault: Fault, every: usize) {
        self.account().faults.push(action, fault, None, every);
    }

    /// Ends all faults and forgets how completions were to end.
    pub fn heal(&self) {
        let mut account = self.account();
        account.faults.clear();
        account.ends.clear();
    }

    /// The next snapshot that is completed ends as an error, with this message. Calls queue up.
    pub fn fail_next_completion(&self, message: &str) {
        self.account().ends.push(message.to_owned());
    }

    /// How long each call of an action takes.
    pub fn set_latency(&self, action: &str, latency: Duration) {
        self.account().rules.latency.insert(action.to_owned(), latency);
    }

    /// How many calls of an action a second may have: for the account, and as many for each snapshot whose blocks are put or
    /// got. What is above is throttled.
    pub fn set_rate(&self, action: &str, per_second: Option<u32>) {
        self.account().set_rate(action, per_second);
    }

    /// A new snapshot is not found before it is older than this.
    pub fn set_start_lag(&self, lag: Duration) {
        self.account().rules.start_lag = SignedDuration::try_from(lag).unwrap_or_default();
    }

    /// A completed snapshot is shown as pending for so long.
    pub fn set_completion_lag(&self, lag: Duration) {
        self.account().rules.completion_lag = SignedDuration::try_from(lag).unwrap_or_default();
    }

    /// How lists of blocks are cut into pages.
    pub fn set_pages(&self, pages: Pages) {
        let mut account = self.account();
        account.rules.pages = pages;
        account.pages = 0;
    }

    /// How many snapshots may be pending.
    pub fn set_pending_quota(&self, most: usize) {
        self.account().rules.pending_quota = most;
    }

    /// Whether new snapshots are encrypted, asked or not.
    pub fn set_encryption_by_default(&self, on: bool) {
        self.account().rules.encryption_by_default = on;
    }

    /// From now on keeps only the checksums of blocks, for measurements; such blocks cannot be read.
    pub fn forget_contents(&self) {
        self.cloud.contents.forget();
    }

    /// Adds a completed snapshot of somebody else, that everybody may see.
    pub fn add_public_snapshot(&self) -> String {
        self.add_snapshot(STRANGER, &[])
    }

    /// Adds a completed snapshot that somebody of this account made by hand.
    pub fn add_foreign_snapshot(&self, tags: &[(&str, &str)]) -> String {
        self.add_snapshot(OWNER, tags)
    }

    fn add_snapshot(&self, owner: &str, tags: &[(&str, &str)]) -> String {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let start = Start {
            gib: 1,
            parent: None,
            tags: tags.iter().map(owned).collect(),
            description: Some("made by hand".to_owned()),
            client_token: None,
            encrypted: false,
            kms_key: None,
            timeout_minutes: 60,
        };
        let mut account = self.account();
        let id = format!("snap-{}", account.mint.hex(17));
        let now = account.now();
        let mut snapshot = Snapshot::new(id.clone(), owner, start.clone(), start, now);
        snapshot.status = Status::Completed;
        account.snapshots.push(snapshot);
        id
    }

    /// Lets an image of machines need a snapshot, so that it cannot be deleted.
    pub fn set_in_use(&self, id: &str, in_use: bool) {
        let mut account = self.account();
        if let Some(snapshot) = account.snapshots.iter_mut().find(|snapshot| snapshot.id == id) {
            snapshot.in_use = in_use;
        }
    }

    /// All snapshots of this account that are there, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotView> {
        let account = self.account();
        let there = |snapshot: &&Snapshot| !snapshot.deleted && snapshot.owner == OWNER;
        account.snapshots.iter().filter(there).map(Snapshot::view).collect()
    }

    /// One snapshot, deleted or not.
    pub fn snapshot(&self, id: &str) -> Option<SnapshotView> {
        let account = self.account();
        let found = account.snapshots.iter().find(|snapshot| snapshot.id == id);
        found.map(Snapshot::view)
    }

    /// How many snapshots were ever started.
    pub fn started(&self) -> usize {
        let account = self.account();
        let by_call = |snapshot: &&Snapshot| snapshot.start.description.as_deref() != Some("made by hand");
        account.snapshots.iter().filter(by_call).count()
    }

    /// How many calls of an action arrived, refused ones too.
    pub fn calls(&self, action: &str) -> usize {
        self.account().calls.get(action).copied().unwrap_or(0)
    }

    /// How many calls were refused, by the name of the exception.
    pub fn rejections(&self) -> BTreeMap<String, usize> {
        self.account().rejected.clone()
    }

    /// Bytes of blocks that were accepted.
    pub fn bytes(&self) -> u64 {
        self.account().bytes
    }

    /// What a volume made of a snapshot shows at a block: unwritten ones are zeros, or what decrypting zeros gives.
    ///
    /// # Errors
    ///
    /// When the content was forgotten.
    pub fn volume_block(&self, id: &str, index: u32) -> io::Result<Vec<u8>> {
        let (block, encrypted) = {
            let account = self.account();
            let encrypted = account
                .lineage(id)
                .next()
                .is_some_and(|snapshot| snapshot.start.encrypted);
            (account.block(id, index), encrypted)
        };
        match block {
            Some(digest) => self.cloud.contents.read(&digest),
            None if encrypted => Ok(garbage(id, index)),
            None => Ok(vec![0; BLOCK_BYTES]),
        }
    }

    /// Writes the volume that a node would see into a file; what is unwritten and not encrypted stays a hole.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or a content was forgotten.
    pub fn write_volume(&self, id: &str, path: &Path) -> io::Result<()> {
        let snapshot = self.snapshot(id);
        let snapshot = snapshot.ok_or_else(|| io::Error::other(format!("there is no snapshot {id}")))?;
        let blocks = snapshot.gib * BLOCKS_PER_GIB;
        let file = File::create(path)?;
        file.set_len(blocks * BLOCK_BYTES as u64)?;
        for index in 0..u32::try_from(blocks).unwrap_or(u32::MAX) {
            if snapshot.encrypted || self.account().block(id, index).is_some() {
                file.write_all_at(&self.volume_block(id, index)?, u64::from(index) * BLOCK_BYTES as u64)?;
            }
        }
        Ok(())
    }

    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        let mut account = self.cloud.account();
        account.tick();
        account
    }
}

impl Drop for FakeEbs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an encrypted volume shows where nothing was written: nobody's data, and the same each time.
fn garbage(id: &str, index: u32) -> Vec<u8> {
    let pieces = (0..BLOCK_BYTES / 32).flat_map(|piece| Sha256::digest(format!("{id}/{index}/{piece}")));
    pieces.collect()
}
