//! The local provider against an in-process registry.

mod builds;
mod conformance;
mod content;
mod faults;
mod processes;
mod support;
