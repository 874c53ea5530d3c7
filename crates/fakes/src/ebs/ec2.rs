//! The two calls of EC2 that the EBS direct APIs leave to it: DescribeSnapshots and DeleteSnapshot.

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::OWNER;
use super::account::Account;
use super::refusal::Refusal;
use super::snapshot::{Snapshot, Status};
use super::tokens::PAGE_LIFETIME;
use super::xml::Element;
use crate::cloud::Reply;

/// The only version of the API that is served.
const VERSION: &str = "2016-11-15";
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// Entries of a page that names how many it wants.
const RESULTS: std::ops::RangeInclusive<usize> = 5..=1_000;
/// What the token of a next page is for.
const SUBJECT: &str = "snapshots of ec2";

/// The parameters of a call.
#[derive(Debug)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(crate) fn action(&self) -> &str {
        self.text("Action").unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `Name.1`, `Name.2`, … without gaps.
    fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|n| self.text(&format!("{name}.{n}"))).collect()
    }
}

pub(crate) fn answer(account: &mut Account, form: &Form) -> Result<Reply, Refusal> {
    if form.text("Version") != Some(VERSION) {
        return Err(invalid("NoSuchVersion", format!("the version must be {VERSION}")));
    }
    let dry_run = form.text("DryRun") == Some("true");
    match form.action() {
        "DescribeSnapshots" | "DeleteSnapshot" if dry_run => {
            let message = "Request would have succeeded, but DryRun flag is set.";
            Err(Refusal::new(412, "DryRunOperation", None, message))
        }
        "DescribeSnapshots" => describe(account, form),
        "DeleteSnapshot" => delete(account, form),
        other => Err(invalid("InvalidAction", format!("the action {other} is not valid"))),
    }
}

fn invalid(code: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(400, code, None, message)
}

fn not_found(id: &str) -> Refusal {
    if id.strip_prefix("snap-").is_none_or(str::is_empty) {
        return invalid(
            "InvalidSnapshotID.Malformed",
            format!("The snapshot ID '{id}' is malformed."),
        );
    }
    invalid(
        "InvalidSnapshot.NotFound",
        format!("The snapshot '{id}' does not exist."),
    )
}

fn respond(account: &mut Account, name: &'static str, children: Vec<Element>) -> Reply {
    let id = Element::text("requestId", &account.mint.uuid());
    let document = Element::parent(name).with(id).with_all(children);
    Reply::new(200, "text/xml;charset=UTF-8", document.document(NAMESPACE))
}

fn delete(account: &mut Account, form: &Form) -> Result<Reply, Refusal> {
    let id = form.text("SnapshotId").unwrap_or_default();
    if id.is_empty() {
        let message = "The request must contain the parameter SnapshotId";
        return Err(invalid("MissingParameter", message));
    }
    let snapshot = account.known(id).map_err(|_| not_found(id))?;
    if snapshot.in_use {
        let message = format!("The snapshot {id} is currently in use by ami-0123456789abcdef0");
        return Err(invalid("InvalidSnapshot.InUse", message));
    }
    snapshot.deleted = true;
    Ok(respond(
        account,
        "DeleteSnapshotResponse",
        vec![Element::text("return", "true")],
    ))
}

fn describe(account: &mut Account, form: &Form) -> Result<Reply, Refusal> {
    let now = account.tick();
    let ids = form.list("SnapshotId");
    let limit = match form.text("MaxResults").map(str::parse::<usize>) {
        None => *RESULTS.end(),
        Some(Ok(most)) if RESULTS.contains(&most) && ids.is_empty() => most,
        Some(Ok(_)) if !ids.is_empty() => {
            let message = "The parameter snapshotIds cannot be used with the parameter maxResults";
            return Err(invalid("InvalidParameterCombination", message));
        }
        Some(_) => return Err(invalid("InvalidParameterValue", "MaxResults must be from 5 to 1000")),
    };
    let from = match form.text("NextToken") {
        None => 0,
        Some(token) => {
            let expired = || invalid("InvalidNextToken", "The token is not valid, or not any more.");
            account.tokens.read(token, SUBJECT, now).ok_or_else(expired)?
        }
    };
    let filters = Filter::all(form)?;
    let owners = form.list("Owner");
    let lag = account.rules.start_lag;
    let shown = |snapshot: &&Snapshot| {
        let own = |owner: &&str| *owner == snapshot.owner || (*owner == "self" && snapshot.owner == OWNER);
        !snapshot.deleted
            && now >= snapshot.started + lag
            && (owners.is_empty() || owners.iter().any(own))
            && filters.iter().all(|filter| filter.fits(snapshot))
    };
    let visible = |id: &str| {
        account
            .snapshots
            .iter()
            .any(|snapshot| snapshot.id == id && shown(&snapshot))
    };
    if let Some(absent) = ids
        .iter()
        .find(|id| !account.snapshots.iter().any(|snapshot| snapshot.id == **id))
    {
        return Err(not_found(absent));
    }
    if let Some(absent) = ids.iter().find(|id| filters.is_empty() && !visible(id)) {
        return Err(not_found(absent));
    }
    let listed = |snapshot: &&Snapshot| ids.is_empty() || ids.contains(&snapshot.id.as_str());
    let skipped = usize::try_from(from).unwrap_or(usize::MAX);
    let mut rest = account.snapshots.iter().filter(shown).filter(listed).skip(skipped);
    let items: Vec<Element> = rest.by_ref().take(limit).map(item).collect();
    let more = rest.next().is_some();
    let next = from + u32::try_from(items.len()).unwrap_or(u32::MAX);
    let mut children = vec![Element::parent("snapshotSet").with_all(items)];
    if more {
        let Account { tokens, mint, .. } = account;
        let token = tokens.issue(mint, SUBJECT, next, now + PAGE_LIFETIME);
        children.push(Element::text("nextToken", &token));
    }
    Ok(respond(account, "DescribeSnapshotsResponse", children))
}

fn item(snapshot: &Snapshot) -> Element {
    let start = &snapshot.start;
    let tag = |(key, value): &(String, String)| {
        Element::parent("item")
            .with(Element::text("key", key))
            .with(Element::text("value", value))
    };
    let progress = match snapshot.status {
        Status::Completed => 100,
        _ => snapshot.progress,
    };
    let message = match &snapshot.status {
        Status::Error(message) => message,
        _ => "",
    };
    let mut item = Element::parent("item")
        .with(Element::text("snapshotId", &snapshot.id))
        .with(Element::text("volumeId", "vol-ffffffff"))
        .with(Element::text("status", snapshot.status.as_str()))
        .with(Element::text("statusMessage", message))
        .with(Element::text("startTime", &snapshot.started.to_string()))
        .with(Element::text("progress", &format!("{progress}%")))
        .with(Element::text("ownerId", &snapshot.owner))
        .with(Element::text("volumeSize", &start.gib.to_string()))
        .with(Element::text(
            "description",
            start.description.as_deref().unwrap_or_default(),
        ))
        .with(Element::text("encrypted", &start.encrypted.to_string()))
        .with(Element::text("storageTier", "standard"));
    if let Some(key) = start.used_key() {
        item = item.with(Element::text("kmsKeyId", key));
    }
    if !start.tags.is_empty() {
        item = item.with(Element::parent("tagSet").with_all(start.tags.iter().map(tag)));
    }
    item
}

/// `Filter.1.Name` and its values, any of which may fit.
struct Filter {
    name: String,
    values: Vec<String>,
}

impl Filter {
    fn all(form: &Form) -> Result<Vec<Self>, Refusal> {
        let mut filters = Vec::new();
        for n in 1.. {
            let Some(name) = form.text(&format!("Filter.{n}.Name")) else {
                break;
            };
            let known = [
                "description",
                "encrypted",
                "owner-id",
                "snapshot-id",
                "status",
                "tag-key",
                "volume-size",
            ];
            if !known.contains(&name) && name.strip_prefix("tag:").is_none_or(str::is_empty) {
                let message = format!("The filter '{name}' is invalid");
                return Err(invalid("InvalidParameterValue", message));
            }
            let values = form.list(&format!("Filter.{n}.Value"));
            filters.push(Self {
                name: name.to_owned(),
                values: values.into_iter().map(str::to_owned).collect(),
            });
        }
        Ok(filters)
    }

    fn fits(&self, snapshot: &Snapshot) -> bool {
        let start = &snapshot.start;
        let tags = start.tags.iter();
        let found: Vec<String> = match self.name.as_str() {
            "description" => start.description.iter().cloned().collect(),
            "encrypted" => vec![start.encrypted.to_string()],
            "owner-id" => vec![snapshot.owner.clone()],
            "snapshot-id" => vec![snapshot.id.clone()],
            "status" => vec![snapshot.status.as_str().to_owned()],
            "tag-key" => tags.map(|(key, _)| key.clone()).collect(),
            "volume-size" => vec![start.gib.to_string()],
            tag => {
                let wanted = tag.strip_prefix("tag:").unwrap_or_default();
                tags.filter(|(key, _)| key == wanted)
                    .map(|(_, value)| value.clone())
                    .collect()
            }
        };
        found
            .iter()
            .any(|text| self.values.iter().any(|pattern| fits(pattern, text)))
    }
}

/// Whether a text fits a pattern in which `*` is any text and `?` any character.
fn fits(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = pattern.get(first.len_utf8()..).unwrap_or_default();
    let mut left = text.chars();
    match first {
        '*' => (0..=text.len()).any(|at| text.get(at..).is_some_and(|end| fits(rest, end))),
        '?' => left.next().is_some() && fits(rest, left.as_str()),
        letter => left.next() == Some(letter) && fits(rest, left.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_of_filters() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("imagecache", "imagecache", true),
            ("imagecache", "imagecache2", false),
            ("image*", "imagecache", true),
            ("*cache", "imagecache", true),
            ("*", "", true),
            ("im?ge*", "imagecache", true),
            ("?", "", false),
            ("Ä?", "Äü", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern:?} and {text:?}");
        }
    }
}
