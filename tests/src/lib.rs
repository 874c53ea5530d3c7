//! End-to-end tests with the real binary: what they share, and the scenarios themselves.
//!
//! [`scenarios::all`] is the one list. The program `e2e` runs it (`cargo xtask e2e`), `demo` uses the same pieces
//! (`cargo xtask demo`). Nothing here calls the project's own code: the binary is driven as a user drives it, images are
//! written by a writer of our own, and results are compared with what umoci and containerd make of the same images.

#[macro_use]
mod report;

pub mod binary;
pub mod cloud;
pub mod compare;
pub mod containerd;
pub mod containers;
pub mod context;
pub mod cri;
pub mod ebs;
pub mod eci;
pub mod image;
pub mod kubelet;
pub mod layer;
pub mod mounts;
pub mod node;
pub mod objects;
pub mod plane;
pub mod pods;
pub mod registry;
pub mod runner;
pub mod scenarios;
pub mod store;
pub mod tke;
pub mod wait;
pub mod workloads;
