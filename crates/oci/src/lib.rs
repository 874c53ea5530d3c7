//! An image reference becomes a verified manifest, config and layer streams.
