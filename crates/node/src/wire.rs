//! Messages of containerd's snapshots service (`containerd.services.snapshots.v1`), with the field numbers that it publishes.
//!
//! Written by hand: they are few, frozen, and this way no compiler of protocol files is needed to build.

use std::collections::HashMap;

/// Path prefix of the service's methods.
pub const SERVICE: &str = "/containerd.services.snapshots.v1.Snapshots/";
/// The service's methods.
pub const METHODS: [&str; 10] = [
    "Prepare", "View", "Mounts", "Commit", "Remove", "Stat", "Update", "List", "Usage", "Cleanup",
];

/// `google.protobuf.Empty`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds of the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.FieldMask`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FieldMask {
    /// Fields to change.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mount {
    /// Filesystem, or `bind`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// What is mounted.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Where below the root filesystem; empty for the root itself.
    #[prost(string, tag = "3")]
    pub target: String,
    /// As in fstab.
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// Requests of `Prepare` and `View`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateRequest {
    /// Name of the plugin.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Name of the new snapshot.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Committed snapshot below it; empty for none.
    #[prost(string, tag = "3")]
    pub parent: String,
    /// Labels of the new snapshot.
    #[prost(map = "string, string", tag = "4")]
    pub labels: HashMap<String, String>,
}

/// Requests that name one snapshot: `Mounts`, `Remove`, `Stat`, `Usage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyRequest {
    /// Name of the plugin.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Name of the snapshot.
    #[prost(string, tag = "2")]
    pub key: String,
}

/// Answers of `Prepare`, `View` and `Mounts`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MountsResponse {
    /// What to mount, in order.
    #[prost(message, repeated, tag = "1")]
    pub mounts: Vec<Mount>,
}

/// Request of `Commit`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitRequest {
    /// Name of the plugin.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Name of the committed snapshot.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Active snapshot to commit.
    #[prost(string, tag = "3")]
    pub key: String,
    /// Labels of the committed snapshot.
    #[prost(map = "string, string", tag = "4")]
    pub labels: HashMap<String, String>,
    /// Parent of a snapshot that was prepared without one.
    #[prost(string, tag = "5")]
    pub parent: String,
}

/// What kind of snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Not said.
    Unknown = 0,
    /// Read-only.
    View = 1,
    /// Writable.
    Active = 2,
    /// Finished; may have children.
    Committed = 3,
}

/// What is known of a snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Info {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Name of the snapshot below it.
    #[prost(string, tag = "2")]
    pub parent: String,
    /// Kind.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    /// When it was made or committed.
    #[prost(message, optional, tag = "4")]
    pub created_at: Option<Timestamp>,
    /// When it was changed last.
    #[prost(message, optional, tag = "5")]
    pub updated_at: Option<Timestamp>,
    /// Labels.
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
}

/// Answers of `Stat` and `Update`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InfoResponse {
    /// The snapshot.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

/// Request of `Update`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRequest {
    /// Name of the plugin.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Name and new labels.
    #[prost(message, optional, tag = "2")]
    pub info: Option<Info>,
    /// `labels` or `labels.<key>`; all labels when empty.
    #[prost(message, optional, tag = "3")]
    pub update_mask: Option<FieldMask>,
}

/// Request of `List`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListRequest {
    /// Name of the plugin.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Any of these; all snapshots when empty.
    #[prost(string, repeated, tag = "2")]
    pub filters: Vec<String>,
}

/// One piece of the answer of `List`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListResponse {
    /// Some snapshots.
    #[prost(message, repeated, tag = "1")]
    pub info: Vec<Info>,
}

/// Answer of `Usage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UsageResponse {
    /// Bytes on disk.
    #[prost(int64, tag = "1")]
    pub size: i64,
    /// Files and directories.
    #[prost(int64, tag = "2")]
    pub inodes: i64,
}

/// Request of `Cleanup`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CleanupRequest {
    /// Name of the plugin.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
}
