//! The webhook as the API server sees it.

mod api;
mod keeping;
mod manifests;
mod passing;
mod profiles;
mod properties;
mod rig;
mod serving;
mod verdicts;
