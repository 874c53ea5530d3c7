//! The suite on its own reference provider, and the list of cases against the cases there are.

use imagecache_conformance::MemoryHarness;

async fn harness() -> MemoryHarness {
    MemoryHarness::default()
}

imagecache_conformance::conformance_suite!(crate::harness);

#[test]
fn every_case_is_in_the_list() {
    for (cases, list) in [
        (include_str!("../../src/cases.rs"), include_str!("../../src/lib.rs")),
        (
            include_str!("../../src/cloud/cases.rs"),
            include_str!("../../src/cloud/mod.rs"),
        ),
    ] {
        let names = cases.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        for name in names.filter_map(|line| line.split(['(', '<']).next()) {
            assert!(list.lines().any(|listed| listed.trim() == name), "{name} is never run");
        }
    }
}
