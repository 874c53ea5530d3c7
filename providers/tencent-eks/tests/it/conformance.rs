//! The contract, case by case.

imagecache_conformance::conformance_suite!(crate::support::harness);
