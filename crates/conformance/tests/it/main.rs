//! The suite on its own reference provider, and the list of cases against the cases there are.

use imagecache_conformance::MemoryHarness;

async fn harness() -> MemoryHarness {
    MemoryHarness::default()
}

imagecache_conformance::conformance_suite!(crate::harness);

#[test]
fn every_case_is_in_the_list() {
    let cases = include_str!("../../src/cases.rs");
    let list = include_str!("../../src/lib.rs");
    for line in cases.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
        let name = line.split('(').next().unwrap();
        assert!(list.lines().any(|listed| listed.trim() == name), "{name} is never run");
    }
}
