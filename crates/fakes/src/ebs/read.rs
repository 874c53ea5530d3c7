//! ListSnapshotBlocks, ListChangedBlocks, GetSnapshotBlock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use url::form_urlencoded;

use super::account::Account;
use super::contents::Digest;
use super::refusal::Refusal;
use super::snapshot::Status;
use super::tokens::{BLOCK_LIFETIME, PAGE_LIFETIME};
use super::write::seconds;
use super::{BLOCK_BYTES, Pages};
use crate::cloud::{Received, Reply};

/// Entries of a page, unless less are asked for; the least that may be asked for.
const MOST_RESULTS: usize = 10_000;
const LEAST_RESULTS: usize = 100;

/// The parameters that both lists have.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Received) -> Self {
        Self(form_urlencoded::parse(request.query.as_bytes()).into_owned().collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Refusal::parameter(format!("{name} must be a number")))
        };
        self.text(name).map(number).transpose()
    }
}

pub(crate) fn list(account: &mut Account, request: &Received, id: &str) -> Result<Reply, Refusal> {
    check_readable(account, id)?;
    let query = Query::of(request);
    let subject = format!("blocks of {id}");
    let (from, limit) = page(account, &query, &subject)?;
    let mut blocks = account.blocks(id, from).into_keys();
    let mut entries = Vec::new();
    for index in blocks.by_ref().take(limit) {
        let token = block_token(account, id, index);
        entries.push(json!({ "BlockIndex": index, "BlockToken": token }));
    }
    let next = blocks.next();
    Ok(answer(account, id, "Blocks", entries, &subject, next))
}

pub(crate) fn list_changed(account: &mut Account, request: &Received, second: &str) -> Result<Reply, Refusal> {
    check_readable(account, second)?;
    let query = Query::of(request);
    let first = query.text("firstSnapshotId").map(str::to_owned);
    if let Some(first) = &first {
        check_readable(account, first)?;
        let root = |id: &str| account.lineage(id).last().map(|snapshot| snapshot.id.clone());
        if root(first) != root(second) {
            let message = "The snapshots do not share a lineage.";
            return Err(Refusal::invalid("UNRELATED_SNAPSHOTS", message));
        }
    }
    let subject = format!("changes of {second} since {first:?}");
    let (from, limit) = page(account, &query, &subject)?;
    let blocks = |id: &str| account.blocks(id, from);
    let before = first.as_deref().map(blocks).unwrap_or_default();
    let after = blocks(second);
    let indexes: BTreeSet<u32> = before.keys().chain(after.keys()).copied().collect();
    let mut changed = indexes
        .into_iter()
        .filter(|index| before.get(index) != after.get(index));
    let mut entries = Vec::new();
    for index in changed.by_ref().take(limit) {
        let mut entry = serde_json::Map::new();
        entry.insert("BlockIndex".to_owned(), json!(index));
        if let (Some(first), true) = (&first, before.contains_key(&index)) {
            let token = block_token(account, first, index);
            entry.insert("FirstBlockToken".to_owned(), json!(token));
        }
        if after.contains_key(&index) {
            let token = block_token(account, second, index);
            entry.insert("SecondBlockToken".to_owned(), json!(token));
        }
        entries.push(Value::Object(entry));
    }
    let next = changed.next();
    Ok(answer(account, second, "ChangedBlocks", entries, &subject, next))
}

/// The digest of the block that is asked for.
pub(crate) fn find(account: &mut Account, request: &Received, id: &str, index: &str) -> Result<Digest, Refusal> {
    check_readable(account, id)?;
    let number: u32 = index
        .parse()
        .map_err(|_| Refusal::parameter(format!("{index:?} is not the index of a block")))?;
    let query = Query::of(request);
    let token = query.text("blockToken").unwrap_or_default();
    let now = account.now();
    let invalid = || Refusal::invalid("INVALID_BLOCK_TOKEN", format!("The token is not one of block {index}."));
    match account.tokens.read(token, &format!("a block of {id}"), now) {
        Some(named) if named == number => {}
        _ => return Err(invalid()),
    }
    account.block(id, number).ok_or_else(invalid)
}

/// The answer with a block.
pub(crate) fn deliver(digest: &Digest, bytes: Vec<u8>) -> Reply {
    let mut reply = Reply::new(200, "application/octet-stream", bytes);
    reply.headers.push(("x-amz-data-length", BLOCK_BYTES.to_string()));
    reply.headers.push(("x-amz-checksum", STANDARD.encode(digest)));
    reply.headers.push(("x-amz-checksum-algorithm", "SHA256".to_owned()));
    reply
}

fn check_readable(account: &mut Account, id: &str) -> Result<(), Refusal> {
    let snapshot = account.known(id)?;
    match &snapshot.status {
        Status::Completed => Ok(()),
        status => {
            let message = format!("The snapshot '{id}' is {} and cannot be read.", status.as_str());
            Err(Refusal::invalid("INVALID_SNAPSHOT_ID", message))
        }
    }
}

fn block_token(account: &mut Account, id: &str, index: u32) -> String {
    let expires = account.now() + BLOCK_LIFETIME;
    let Account { tokens, mint, .. } = account;
    tokens.issue(mint, &format!("a block of {id}"), index, expires)
}

/// Where the page starts, and how many entries it has.
fn page(account: &mut Account, query: &Query, subject: &str) -> Result<(u32, usize), Refusal> {
    let asked = query.number("maxResults")?.unwrap_or(MOST_RESULTS);
    if !(LEAST_RESULTS..=MOST_RESULTS).contains(&asked) {
        let message = format!("MaxResults must be from {LEAST_RESULTS} to {MOST_RESULTS}");
        return Err(Refusal::parameter(message));
    }
    let from = match query.text("pageToken") {
        Some(token) => {
            let expired = || Refusal::invalid("INVALID_PAGE_TOKEN", "The token is not valid, or not any more.");
            account.tokens.read(token, subject, account.now()).ok_or_else(expired)?
        }
        None => query.number("startingBlockIndex")?.unwrap_or_default(),
    };
    account.pages += 1;
    let limit = match account.rules.pages {
        Pages::Full => asked,
        Pages::Short(most) => asked.min(most.max(1)),
        // Every other page is empty, the first one too.
        Pages::ShortAndEmpty(_) if account.pages % 2 == 1 => 0,
        Pages::ShortAndEmpty(most) => asked.min(most.max(1)),
    };
    Ok((from, limit))
}

fn answer(account: &mut Account, id: &str, name: &str, entries: Vec<Value>, subject: &str, next: Option<u32>) -> Reply {
    let now = account.now();
    let mut document = json!({
        name: entries,
        "BlockSize": BLOCK_BYTES,
        "VolumeSize": account.find(id).map(|snapshot| snapshot.start.gib),
        "ExpiryTime": seconds(now + BLOCK_LIFETIME),
    });
    if let (Some(next), Some(fields)) = (next, document.as_object_mut()) {
        let Account { tokens, mint, .. } = account;
        let token = tokens.issue(mint, subject, next, now + PAGE_LIFETIME);
        fields.insert("NextToken".to_owned(), json!(token));
    }
    Reply::new(200, "application/json", document.to_string())
}
