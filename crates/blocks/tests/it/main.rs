//! Stores, volumes and mounts as a user of the crate sees them.

mod mounting;
mod support;
