//! The store, volumes and mounts, as their users see them.

mod damage;
mod locks;
mod mounts;
mod store;
mod support;
mod volumes;
