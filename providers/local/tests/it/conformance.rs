//! The contract, case by case: with snapshots in the directory, and in EBS.

mod directory {
    imagecache_conformance::conformance_suite!(crate::support::harness);
}

mod ebs {
    imagecache_conformance::conformance_suite!(crate::support::ebs_harness);
}
