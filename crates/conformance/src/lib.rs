//! The definition of "provider": one list of cases that every [`CacheProvider`](imagecache_core::CacheProvider) passes.
//!
//! A provider's test crate writes a [`Harness`] and one line:
//!
//! ```ignore
//! imagecache_conformance::conformance_suite!(crate::support::harness);
//! ```
//!
//! which makes one named test per case, so a new case reaches all providers and one failure hides no other.
//! [`MemoryProvider`] is the reference that the suite itself is checked on, and a stand-in for tests of the controller.

// The suite is test code: a case that does not hold must panic.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod cases;
pub mod cloud;
mod harness;
mod memory;

pub use harness::{Fault, Harness};
pub use memory::{MemoryHarness, MemoryProvider};

/// Makes one `#[tokio::test]` per case; the argument is an async function that gives a fresh [`Harness`].
#[macro_export]
macro_rules! conformance_suite {
    ($harness:path) => {
        $crate::conformance_suite! { @tests $harness;
            name_is_one_stable_word
            unknown_key_is_none
            ensure_starts_a_build_and_reports_it
            ensure_again_starts_no_second_build
            concurrent_ensures_start_one_build
            finished_build_is_ready_and_complete
            id_stays_the_same
            failed_build_is_reported_and_not_rebuilt
            stalled_build_resumes
            failed_cache_expires_after_a_day
            caches_never_expire_by_default
            retention_removes_the_cache
            deleting_what_is_not_there_is_fine
            deleting_a_running_build_ends_it
            deleting_leaves_other_caches_alone
            deleted_cache_can_be_made_again
            list_agrees_with_get
            invalid_spec_is_refused_and_creates_nothing
            platform_is_honoured_or_refused
            registry_transport_is_honoured_or_refused
            states_survive_a_restart
            no_secret_is_shown
            bind_names_the_cache
        }
    };
    (@tests $harness:path; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::cases::$case(&$harness().await).await;
            }
        )*
    };
}
