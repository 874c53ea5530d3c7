//! The snapshotter as containerd uses it, without containerd and without root: layers that no cache holds.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod snapshots;
