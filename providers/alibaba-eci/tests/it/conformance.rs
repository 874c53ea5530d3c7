//! The contract, case by case, and what clouds share beyond it.

mod provider {
    imagecache_conformance::conformance_suite!(crate::support::harness);
}

mod cloud {
    imagecache_conformance::cloud_suite!(crate::support::Cloud::start);
}
