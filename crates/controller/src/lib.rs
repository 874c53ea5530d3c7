//! The imagecache binary: command line, configuration, reconciler.
