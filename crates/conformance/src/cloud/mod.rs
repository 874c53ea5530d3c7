//! What providers of clouds share beyond the contract: a fake of the cloud under control, and the cases that it makes possible.
//!
//! A provider's test crate has a type with a field `fake`, says how it makes providers, and gets both suites:
//!
//! ```ignore
//! imagecache_conformance::faked_cloud! { Cloud { fakes: imagecache_fakes::eci, delete: "DeleteImageCache" } }
//! imagecache_conformance::cloud_suite!(crate::support::Cloud::start);
//! ```

pub mod cases;
mod harness;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use imagecache_core::CacheProvider;

pub use harness::{CloudHarness, PASSWORD};

/// Longest time for one build in the configuration under test.
pub const DEADLINE: Duration = Duration::from_secs(60 * 60);
/// The installation that the provider under test belongs to.
pub const OWNER: &str = "cluster-1";

/// What goes wrong with one call that is otherwise in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A 5xx, and nothing was done.
    ErrorBefore,
    /// A 5xx, and all was done.
    ErrorAfter,
    /// All was done, and no answer comes.
    NoAnswer,
    /// All was done, and the answer ends in its middle.
    CutBody,
    /// All was done, and the answer is a 200 of something in between.
    OtherAnswer,
}

/// A cache as the service has it.
#[derive(Clone, Debug)]
pub struct SeenCache {
    /// Its id.
    pub id: String,
    /// The vendor's word for its state.
    pub status: String,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// How a cloud's providers are made.
#[async_trait]
pub trait Opens: Send + Sync {
    /// A provider that may create at once, for an installation or, without one, the command line.
    async fn open_as(&self, owner: Option<&str>) -> Arc<dyn CacheProvider>;
}

/// A fake of a cloud under control. [`faked_cloud!`](crate::faked_cloud) writes this.
pub trait FakedCloud: Opens {
    /// The action that removes caches.
    const DELETE: &'static str;

    /// Every cache in the account, oldest first.
    fn seen(&self) -> Vec<SeenCache>;
    /// Calls of an action that arrived.
    fn calls(&self, action: &str) -> usize;
    /// Caches that were made through the API.
    fn creations(&self) -> usize;
    /// Every secret in play.
    fn secrets(&self) -> Vec<String>;

    /// Lets time pass, here and in the service.
    fn advance(&self, by: Duration);
    /// How far the service's clock is ahead.
    fn set_clock_ahead(&self, by: Duration);
    /// How long a new cache is missing from lists.
    fn set_lag(&self, lag: Duration);
    /// Whether deleting a cache that is being built is refused.
    fn refuse_deletes_while_building(&self, refused: bool);

    /// Ends every build that runs and does not hang.
    fn finish_builds(&self);
    /// Makes the next build end with a warning that says this.
    fn fail_next_build(&self, message: &str);
    /// Makes the next build never end.
    fn hang_next_build(&self);
    /// Shows a cache in this status from now on.
    fn set_status(&self, id: &str, word: &str);
    /// Adds a Ready cache that somebody else made; its id.
    fn add_foreign(&self, name: &str) -> String;
    /// What goes wrong with the next call of an action.
    fn trouble(&self, action: &str, trouble: Trouble);
}

/// Runs `future` for as many polls, then drops it in the middle of whatever it does, as a killed process would.
pub async fn cut_short<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(fewer) => {
            left = fewer;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

/// Implements [`FakedCloud`] for a type whose field `fake` is one of the fakes in the module `fakes`: all have these methods.
#[macro_export]
macro_rules! faked_cloud {
    ($cloud:ty { fakes: $($fakes:ident)::+, delete: $delete:literal }) => {
        impl $crate::cloud::FakedCloud for $cloud {
            const DELETE: &'static str = $delete;

            fn seen(&self) -> ::std::vec::Vec<$crate::cloud::SeenCache> {
                let seen = |cache: $($fakes)::+::CacheView| $crate::cloud::SeenCache {
                    id: cache.id,
                    status: cache.status,
                    tags: cache.tags,
                };
                self.fake.caches().into_iter().map(seen).collect()
            }
            fn calls(&self, action: &str) -> usize {
                self.fake.calls(action)
            }
            fn creations(&self) -> usize {
                self.fake.creations()
            }
            fn secrets(&self) -> ::std::vec::Vec<::std::string::String> {
                self.fake.secrets()
            }
            fn advance(&self, by: ::std::time::Duration) {
                self.fake.advance(by);
            }
            fn set_clock_ahead(&self, by: ::std::time::Duration) {
                self.fake.set_clock_skew(by.try_into().unwrap());
            }
            fn set_lag(&self, lag: ::std::time::Duration) {
                self.fake.set_visibility_lag(lag);
            }
            fn refuse_deletes_while_building(&self, refused: bool) {
                self.fake.refuse_deletes_while_building(refused);
            }
            fn finish_builds(&self) {
                self.fake.finish_builds();
            }
            fn fail_next_build(&self, message: &str) {
                self.fake.fail_next_build($($fakes)::+::BuildEnd::Failed {
                    reason: "Failed".to_owned(),
                    message: message.to_owned(),
                });
            }
            fn hang_next_build(&self) {
                self.fake.fail_next_build($($fakes)::+::BuildEnd::Hangs);
            }
            fn set_status(&self, id: &str, word: &str) {
                self.fake.set_status(id, word);
            }
            fn add_foreign(&self, name: &str) -> ::std::string::String {
                self.fake.add_foreign_cache(name)
            }
            fn trouble(&self, action: &str, trouble: $crate::cloud::Trouble) {
                use $($fakes)::+::Fault;
                use $crate::cloud::Trouble;
                let fault = match trouble {
                    Trouble::ErrorBefore => Fault::ServerErrorBefore,
                    Trouble::ErrorAfter => Fault::ServerErrorAfter,
                    Trouble::NoAnswer => Fault::NoAnswer,
                    Trouble::CutBody => Fault::CutBody,
                    Trouble::OtherAnswer => Fault::WrongJson,
                };
                self.fake.inject(action, fault, 1);
            }
        }
    };
}

/// Makes one `#[tokio::test]` per case; the argument is an async function that gives a fresh [`FakedCloud`].
#[macro_export]
macro_rules! cloud_suite {
    ($cloud:path) => {
        $crate::cloud_suite! { @tests $cloud;
            undocumented_states_are_shown_as_they_are
            failed_update_is_made_again
            failing_update_is_given_up_at_last
            failed_build_says_what_the_service_said
            hanging_build_is_begun_anew_and_fails_at_last
            running_build_that_may_not_be_deleted_is_a_conflict
            wrong_clock_is_put_right
            nothing_is_called_before_it_is_needed
            cache_costs_two_calls_and_a_list_one
            delete_survives_trouble
            answer_of_something_in_between_is_an_outage
            lost_answer_costs_no_second_cache
            fifty_crashes_cost_no_second_cache
            lagging_list_is_not_an_absence
            what_is_not_listed_yet_is_deleted_all_the_same
            cache_of_the_same_name_is_not_ours
            installations_share_an_account
            command_line_sees_every_installation
        }
    };
    (@tests $cloud:path; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::cloud::cases::$case(&$cloud().await).await;
            }
        )*
    };
}
