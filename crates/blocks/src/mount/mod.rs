//! Mounting volumes and root filesystems.
