//! Project automation: ci, test, demo, bench, codegen.
fn main() {}
