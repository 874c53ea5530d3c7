//! Which cache a pod starts from. Pure, and indexed by image, so that caches that have nothing to do with a pod cost nothing.
//!
//! [`MatchIndex`] follows the provider's caches with [`put`](MatchIndex::put) and [`remove`](MatchIndex::remove).
//! [`decide`](MatchIndex::decide) answers a [`PodRequest`](crate::PodRequest); [`explain`](MatchIndex::explain) tells the
//! same in words, for every cache that could have been chosen.
//!
//! # Rules
//!
//! A cache is *usable* when it is Ready, has not expired, is not larger than the pod's temporary storage where that is
//! limited, and holds as much of the pod as its [`Need`](crate::Need) says: always at least one counted image in some
//! version. The best of the usable ones is chosen by [`MatchDegree`], then by the [`MatchOrder`](crate::MatchOrder) of the
//! dialect: size, creation time. What is still equal is decided by id, so that the same caches always give the same answer.
//!
//! # When a cache holds an image
//!
//! *Exactly*, when registry and repository agree and so does the version: the digest, where the pod gives one (that of the
//! manifest that the cache holds, or of the index that named it, or the one that the cache was asked for); else the tag.
//! *In another version*, when only registry and repository agree. Names are compared in their full form (`nginx` is
//! `docker.io/library/nginx:latest`), and registries after [`RegistryAliases`].

mod aliases;
mod decide;
mod explain;
mod holders;
mod index;
mod score;
mod tally;
#[cfg(test)]
mod tests;

pub use aliases::{AliasError, RegistryAliases};
pub use decide::{Decision, Unusable};
pub use explain::{Candidate, Verdict};
pub use index::{Indexed, MatchIndex};
pub use score::{Held, MatchDegree};
