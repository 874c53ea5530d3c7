//! Layer images, volumes and snapshots in 512 KiB blocks, and the stores that keep them.
