//! The real `kubectl` against the server.
