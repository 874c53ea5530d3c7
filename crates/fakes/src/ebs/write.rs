//! StartSnapshot, PutSnapshotBlock, CompleteSnapshot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::account::Account;
use super::contents::Digest;
use super::refusal::Refusal;
use super::snapshot::{Snapshot, Status};
use super::start::Start;
use super::{BLOCK_BYTES, OWNER};
use crate::cloud::{Received, Reply};

pub(crate) fn start(account: &mut Account, request: &Received) -> Result<Reply, Refusal> {
    let id = account.start(Start::parse(&request.body)?)?;
    let snapshots = &account.snapshots;
    let snapshot = snapshots.iter().find(|snapshot| snapshot.id == id);
    let snapshot = snapshot.ok_or_else(|| Refusal::unknown_snapshot(&id))?;
    Ok(Reply::new(201, "application/json", describe(snapshot).to_string()))
}

fn describe(snapshot: &Snapshot) -> Value {
    let start = &snapshot.start;
    let tags = start
        .tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }));
    let kms_key = start.used_key();
    let mut document = json!({
        "SnapshotId": snapshot.id,
        "OwnerId": OWNER,
        "Status": snapshot.status.as_str(),
        "StartTime": seconds(snapshot.started),
        "VolumeSize": start.gib,
        "BlockSize": BLOCK_BYTES,
        "Tags": tags.collect::<Vec<Value>>(),
        "SseType": if start.encrypted { "sse-kms" } else { "none" },
    });
    let optional = [
        ("Description", start.description.as_deref()),
        ("ParentSnapshotId", start.parent.as_deref()),
        ("KmsKeyArn", kms_key),
    ];
    if let Some(fields) = document.as_object_mut() {
        for (name, value) in optional {
            fields.extend(value.map(|value| (name.to_owned(), json!(value))));
        }
    }
    document
}

/// Times in JSON answers: seconds since 1970, with a fraction.
pub(crate) fn seconds(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1_000.0)
}

/// One block on its way into a snapshot.
#[derive(Debug)]
pub(crate) struct Put {
    id: String,
    index: u32,
    digest: Digest,
    progress: u8,
}

impl Put {
    /// Checks everything about a block but whether the snapshot takes it. `digest` and `length` are those of the body.
    pub(crate) fn check(
        request: &Received,
        id: &str,
        index: &str,
        digest: Digest,
        length: usize,
    ) -> Result<Self, Refusal> {
        let invalid = |message: String| Err(Refusal::invalid("INVALID_BLOCK", message));
        let index: u32 = index
            .parse()
            .map_err(|_| Refusal::parameter(format!("{index:?} is not the index of a block")))?;
        let number = |name: &str| request.header(name).and_then(|text| text.parse::<usize>().ok());
        if number("x-amz-data-length") != Some(BLOCK_BYTES) || length != BLOCK_BYTES {
            return invalid(format!("DataLength and the body must be {BLOCK_BYTES} bytes"));
        }
        if request.header("content-encoding").is_some() {
            let message = "a block cannot be encoded";
            return Err(Refusal::invalid("INVALID_CONTENT_ENCODING", message));
        }
        if request.header("x-amz-checksum-algorithm") != Some("SHA256") {
            return invalid("ChecksumAlgorithm must be SHA256".to_owned());
        }
        if request.header("x-amz-checksum") != Some(STANDARD.encode(digest).as_str()) {
            return invalid(format!("Checksum is not that of the data of block {index}"));
        }
        let progress = match request.header("x-amz-progress").map(str::parse::<u8>) {
            None => 0,
            Some(Ok(percent @ 0..=100)) => percent,
            Some(_) => return Err(Refusal::parameter("Progress must be from 0 to 100")),
        };
        Ok(Self {
            id: id.to_owned(),
            index,
            digest,
            progress,
        })
    }

    /// Whether the snapshot takes the block.
    pub(crate) fn admit<'a>(&self, account: &'a mut Account) -> Result<&'a mut Snapshot, Refusal> {
        let snapshot = account.known(&self.id)?;
        snapshot.check_open()?;
        match u64::from(self.index) < snapshot.blocks_of_volume() {
            true => Ok(snapshot),
            false => Err(Refusal::invalid(
                "INVALID_BLOCK",
                format!(
                    "block {} is outside of a volume of {} GiB",
                    self.index, snapshot.start.gib
                ),
            )),
        }
    }

    /// Makes the block part of the snapshot; its content is kept already.
    pub(crate) fn commit(&self, account: &mut Account) -> Result<Reply, Refusal> {
        let now = account.now();
        let snapshot = self.admit(account)?;
        snapshot.blocks.insert(self.index, self.digest);
        snapshot.touched = now;
        snapshot.progress = snapshot.progress.max(self.progress);
        snapshot.puts.entry(self.index).or_default().accepted += 1;
        account.bytes += BLOCK_BYTES as u64;
        let mut reply = Reply::new(201, "application/json", "{}");
        reply.headers.push(("x-amz-checksum", STANDARD.encode(self.digest)));
        reply.headers.push(("x-amz-checksum-algorithm", "SHA256".to_owned()));
        Ok(reply)
    }

    /// Notes that the whole, true answer is on its way.
    pub(crate) fn acknowledge(&self, account: &mut Account) {
        let snapshot = account.snapshots.iter_mut().find(|snapshot| snapshot.id == self.id);
        if let Some(snapshot) = snapshot {
            snapshot.puts.entry(self.index).or_default().acknowledged += 1;
        }
    }
}

pub(crate) fn complete(account: &mut Account, request: &Received, id: &str) -> Result<Reply, Refusal> {
    let count = request
        .header("x-amz-changedblockscount")
        .and_then(|count| count.parse().ok());
    let count = count.ok_or_else(|| Refusal::parameter("ChangedBlocksCount must be given as a number"))?;
    let checksum = request.header("x-amz-checksum");
    let said = |name: &str, value: &str| request.header(name).is_none_or(|given| given == value);
    if !said("x-amz-checksum-algorithm", "SHA256") || !said("x-amz-checksum-aggregation-method", "LINEAR") {
        return Err(Refusal::parameter("the checksum must be SHA256, aggregated by LINEAR"));
    }
    let now = account.now();
    let end = account.ends.first().cloned().map_or(Status::Completed, Status::Error);
    let snapshot = account.known(id)?;
    snapshot.seal(count, checksum, end, now)?;
    if !account.ends.is_empty() {
        account.ends.remove(0);
    }
    Ok(Reply::new(
        202,
        "application/json",
        json!({ "Status": "pending" }).to_string(),
    ))
}
