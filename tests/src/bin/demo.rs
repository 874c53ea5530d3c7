//! The demo; `cargo xtask demo` builds and starts it.

fn main() {}
