//! What this snapshotter remembers of a snapshot.

use std::collections::BTreeMap;

use imagecache_blocks::Part;
use imagecache_core::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire;

/// Label by which containerd asks for a layer that may be there already: the chainID.
pub const REFERENCE_LABEL: &str = "containerd.io/snapshot.ref";

/// What kind of snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Read-only, of a parent.
    View,
    /// Writable.
    Active,
    /// Finished; may have children.
    Committed,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Name as containerd gave it; opaque.
    pub name: String,
    /// Name of the snapshot below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Kind.
    pub kind: Kind,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it was made or committed.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// Where its files are.
    pub content: Content,
    /// What it takes on disk; known when it is committed.
    #[serde(default)]
    pub usage: Usage,
}

/// Where the files of a snapshot are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// In a directory of its own with this number.
    Directory(u64),
    /// In images that a store holds.
    Cached(CachedLayer),
}

/// A layer that a cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedLayer {
    /// The chain that ends with it.
    pub chain_id: Digest,
    /// Its images, top first: a patch, when the chain needs one, and the layer.
    pub parts: Vec<Part>,
    /// It hides everything below it.
    #[serde(default)]
    pub hides_below: bool,
}

/// What something takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories, hard links once.
    pub inodes: u64,
}

impl Snapshot {
    /// A new snapshot.
    pub fn new(name: &str, parent: Option<&str>, kind: Kind, labels: Labels, content: Content) -> Self {
        let now = Timestamp::now();
        Self {
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            kind,
            labels,
            created: now,
            updated: now,
            content,
            usage: Usage::default(),
        }
    }

    /// The images that it is made of, when it is a cached layer.
    pub fn parts(&self) -> &[Part] {
        match &self.content {
            Content::Directory(_) => &[],
            Content::Cached(layer) => &layer.parts,
        }
    }

    /// As containerd wants it.
    pub fn info(&self) -> wire::Info {
        let kind = match self.kind {
            Kind::View => wire::Kind::View,
            Kind::Active => wire::Kind::Active,
            Kind::Committed => wire::Kind::Committed,
        };
        let time = |time: Timestamp| {
            Some(wire::Timestamp {
                seconds: time.as_second(),
                nanos: time.subsec_nanosecond(),
            })
        };
        wire::Info {
            name: self.name.clone(),
            parent: self.parent.clone().unwrap_or_default(),
            kind: kind.into(),
            created_at: time(self.created),
            updated_at: time(self.updated),
            labels: self.labels.clone().into_iter().collect(),
        }
    }
}

/// Labels, sorted.
pub type Labels = BTreeMap<String, String>;
