//! The fake TKE.

mod caches;
mod faults;
mod neighbours;
mod parameters;
mod signatures;
mod support;
