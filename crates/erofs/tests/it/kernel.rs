//! The kernel and erofs-utils agree with what was written.
