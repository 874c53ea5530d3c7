//! The cases that every cloud's provider passes, whatever its service has against a second cache.

use std::sync::Arc;
use std::time::Duration;

use imagecache_core::{CacheKey, CacheProvider, CacheSpec, CacheState, ErrorKind, EventSeverity, Phase};

use super::{DEADLINE, FakedCloud, OWNER, SeenCache, Trouble, cut_short};

const CREATE: &str = "CreateImageCache";
const DESCRIBE: &str = "DescribeImageCaches";
const UPDATE: &str = "UpdateImageCache";
/// Less than lists are believed to lag.
const LAG: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn spec() -> CacheSpec {
    CacheSpec::new(vec!["registry.example.com/app/web:1.2.3".parse().expect("a reference")])
}

fn key() -> CacheKey {
    CacheKey::new("e83a1c53-f663-11e9-a0d4-fa13fc175b32", &spec())
}

async fn open<C: FakedCloud>(cloud: &C) -> Arc<dyn CacheProvider> {
    cloud.open_as(Some(OWNER)).await
}

/// A cache that is being built.
async fn begin(provider: &dyn CacheProvider) -> CacheState {
    provider.ensure(&key(), &spec()).await.expect("ensure")
}

async fn state(provider: &dyn CacheProvider) -> CacheState {
    provider.get(&key()).await.expect("get").expect("the cache exists")
}

/// The only cache there is.
fn only<C: FakedCloud>(cloud: &C) -> SeenCache {
    let caches = cloud.seen();
    let [one] = caches.as_slice() else {
        panic!("one cache expected, not {caches:?}")
    };
    one.clone()
}

/// What no vendor documents is shown in the vendor's word, and nothing is done about it.
pub async fn undocumented_states_are_shown_as_they_are<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let first = begin(&*provider).await;
    for word in ["Updating", "Deleting", "ExpiredSoon"] {
        cloud.set_status(first.id.as_str(), word);
        let unknown = Phase::Unknown(word.to_owned());
        assert_eq!(state(&*provider).await.phase, unknown);
        assert_eq!(begin(&*provider).await.phase, unknown);
    }
    assert_eq!(cloud.creations(), 1);
}

/// A cache whose update failed is updated again, and stays the same and ours.
pub async fn failed_update_is_made_again<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let first = begin(&*provider).await;
    cloud.set_status(first.id.as_str(), "UpdateFailed");
    let stalled = state(&*provider).await;
    assert!(matches!(stalled.phase, Phase::Stalled(_)), "{stalled:?}");
    let updating = begin(&*provider).await;
    assert_eq!(updating.phase, Phase::Unknown("Updating".to_owned()));
    assert_eq!(updating.id, first.id);
    assert_eq!(only(cloud).status, "Updating");
    cloud.finish_builds();
    assert_eq!(state(&*provider).await.phase, Phase::Ready);
    assert_eq!(provider.list().await.expect("list").len(), 1);
    assert_eq!(cloud.creations(), 1);
}

/// Every update is billed as a build: one that keeps failing is made again a few times, whoever counts.
pub async fn failing_update_is_given_up_at_last<C: FakedCloud>(cloud: &C) {
    let first = begin(&*open(cloud).await).await;
    cloud.finish_builds();
    cloud.set_status(first.id.as_str(), "UpdateFailed");
    for attempt in 2..=3 {
        // Another process each time: what is counted has to be in the cloud.
        let provider = open(cloud).await;
        cloud.fail_next_build("Failed to pull image \"x\": 401 Unauthorized");
        for _ in 0..2 {
            let updating = begin(&*provider).await;
            assert_eq!(updating.phase, Phase::Unknown("Updating".to_owned()));
        }
        let counted = ("imagecache.dev/attempt".to_owned(), attempt.to_string());
        assert!(only(cloud).tags.contains(&counted), "{attempt}");
        cloud.finish_builds();
    }
    let provider = open(cloud).await;
    for _ in 0..3 {
        let failed = begin(&*provider).await;
        assert!(matches!(failed.phase, Phase::Failed(_)), "{failed:?}");
        assert_eq!(state(&*provider).await.phase, failed.phase);
    }
    assert_eq!((cloud.calls(UPDATE), cloud.creations()), (2, 1));
}

/// A failed build says why in the service's words, and is kept for a day.
pub async fn failed_build_says_what_the_service_said<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    begin(&*provider).await;
    cloud.fail_next_build("Failed to pull image \"x\": 401 Unauthorized");
    let failed_at = state(&*provider).await.created_at;
    cloud.finish_builds();
    let state = state(&*provider).await;
    let failure = state.phase.failure().expect("it failed");
    assert_eq!(failure.kind, ErrorKind::Unauthenticated);
    assert!(failure.message.contains("401 Unauthorized"), "{}", failure.message);
    // Not the last one: some services clean up after it.
    let warned = state
        .events
        .iter()
        .any(|event| event.severity == EventSeverity::Warning);
    assert!(warned, "{:?}", state.events);
    let kept = state.expires_at.expect("an end").duration_since(failed_at);
    assert!((23..=25).contains(&kept.as_hours()), "kept for a day: {kept:#}");
}

/// A build over its deadline is given up and begun anew, a few times.
pub async fn hanging_build_is_begun_anew_and_fails_at_last<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let mut ids = vec![begin(&*provider).await.id];
    for attempt in 1..=3 {
        cloud.advance(DEADLINE - 5 * SECOND);
        let phase = state(&*provider).await.phase;
        assert!(matches!(phase, Phase::Pending | Phase::Creating), "in time: {phase:?}");
        cloud.advance(10 * SECOND);
        let phase = state(&*provider).await.phase;
        let failure = phase.failure().expect("it is overdue");
        assert_eq!(failure.kind, ErrorKind::Unavailable);
        for part in ["not finished after 1h", "last event", "NAT gateway"] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        if attempt == 3 {
            assert!(matches!(phase, Phase::Failed(_)), "{phase:?}");
            break;
        }
        assert!(matches!(phase, Phase::Stalled(_)), "{phase:?}");
        let again = begin(&*provider).await;
        assert!(matches!(again.phase, Phase::Pending), "{again:?}");
        assert!(!ids.contains(&again.id), "another cache");
        ids.push(again.id);
        let counted = ("imagecache.dev/attempt".to_owned(), (attempt + 1).to_string());
        assert!(
            only(cloud).tags.contains(&counted),
            "the old one is gone, the new one counts on"
        );
    }
    let failed = begin(&*provider).await;
    assert!(matches!(failed.phase, Phase::Failed(_)), "{failed:?}");
    assert_eq!(cloud.creations(), 3);
}

/// What the service does not let go of yet is a conflict, and nothing is made beside it.
pub async fn running_build_that_may_not_be_deleted_is_a_conflict<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    cloud.refuse_deletes_while_building(true);
    begin(&*provider).await;
    cloud.advance(DEADLINE + SECOND);
    let error = provider
        .ensure(&key(), &spec())
        .await
        .expect_err("it cannot be deleted");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = provider.delete(&key()).await.expect_err("it cannot be deleted");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(cloud.creations(), 1);
    cloud.refuse_deletes_while_building(false);
    provider.delete(&key()).await.expect("delete");
    assert_eq!(cloud.seen().len(), 0);
}

/// A machine whose clock is wrong signs with the service's.
pub async fn wrong_clock_is_put_right<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let before = cloud.calls(DESCRIBE);
    cloud.set_clock_ahead(20 * 60 * SECOND);
    begin(&*provider).await;
    assert_eq!(cloud.calls(DESCRIBE) - before, 2, "refused once");
    assert_eq!(cloud.calls(CREATE), 1, "and not again");
}

/// A spec that can never be fulfilled costs no call.
pub async fn nothing_is_called_before_it_is_needed<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let before = cloud.calls(DESCRIBE);
    let spec = CacheSpec {
        platform: Some("linux/arm64".parse().expect("a platform")),
        ..spec()
    };
    let error = provider.ensure(&key(), &spec).await.expect_err("no such platform");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!((cloud.calls(DESCRIBE) - before, cloud.calls(CREATE)), (0, 0));
}

/// What a cache and a list cost in calls, since services count them.
pub async fn cache_costs_two_calls_and_a_list_one<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let before = cloud.calls(DESCRIBE);
    begin(&*provider).await;
    assert_eq!((cloud.calls(DESCRIBE) - before, cloud.calls(CREATE)), (1, 1));
    provider.list().await.expect("list");
    assert_eq!(cloud.calls(DESCRIBE) - before, 2);
}

/// A delete that is not answered is made again in the same call.
pub async fn delete_survives_trouble<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    for trouble in [
        Trouble::ErrorBefore,
        Trouble::ErrorAfter,
        Trouble::NoAnswer,
        Trouble::CutBody,
    ] {
        begin(&*provider).await;
        cloud.trouble(C::DELETE, trouble);
        let deleted = provider.delete(&key()).await;
        deleted.unwrap_or_else(|error| panic!("{trouble:?}: {error}"));
        assert_eq!(cloud.seen().len(), 0, "{trouble:?}");
    }
}

/// What is no answer of the service is its outage, and the error says where to look.
pub async fn answer_of_something_in_between_is_an_outage<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    cloud.trouble(DESCRIBE, Trouble::OtherAnswer);
    let error = provider.list().await.expect_err("no list came");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("proxy"), "{error}");
    // A cache may have been made all the same, and is found then.
    cloud.trouble(CREATE, Trouble::OtherAnswer);
    if let Err(error) = provider.ensure(&key(), &spec()).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    assert_eq!(begin(&*provider).await.id.as_str(), only(cloud).id);
}

/// A create that was carried out and not answered gives its cache, and no other.
pub async fn lost_answer_costs_no_second_cache<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    for trouble in [Trouble::ErrorAfter, Trouble::NoAnswer, Trouble::CutBody] {
        let before = cloud.creations();
        cloud.trouble(CREATE, trouble);
        let first = begin(&*provider).await;
        assert_eq!(first.id.as_str(), only(cloud).id, "{trouble:?}");
        assert_eq!(state(&*provider).await.id, first.id, "{trouble:?}");
        assert_eq!(cloud.creations() - before, 1, "{trouble:?}");
        provider.delete(&key()).await.expect("delete");
    }
}

/// Processes that are killed at any moment, each knowing nothing of the last, leave one cache.
pub async fn fifty_crashes_cost_no_second_cache<C: FakedCloud>(cloud: &C) {
    cloud.set_lag(LAG);
    let mut done = 0;
    for crash in 0..50 {
        let provider = open(cloud).await;
        if let Some(state) = cut_short(provider.ensure(&key(), &spec()), crash % 25).await {
            assert_eq!(state.expect("ensure").id.as_str(), only(cloud).id);
            done += 1;
        }
        assert!(cloud.creations() <= 1, "after crash {crash}");
    }
    assert!((1..=45).contains(&done), "{done} of 50 were not cut short");
    cloud.advance(LAG + SECOND);
    let listed = open(cloud).await.list().await.expect("list");
    assert_eq!(listed.len(), 1, "no orphan beside it");
    assert_eq!(cloud.creations(), 1);
}

/// What was just created is there, listed or not.
pub async fn lagging_list_is_not_an_absence<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    cloud.set_lag(LAG);
    let first = begin(&*provider).await;
    for _ in 0..3 {
        let again = begin(&*provider).await;
        assert_eq!((&again.id, again.phase), (&first.id, Phase::Pending));
    }
    assert_eq!(cloud.calls(CREATE), 1, "nothing is asked twice");
    cloud.advance(LAG + SECOND);
    assert_eq!(state(&*provider).await.id, first.id);
    assert_eq!(begin(&*provider).await.id, first.id);
    assert_eq!(cloud.creations(), 1);
}

/// What was just created is deleted, listed or not, and made again at once.
pub async fn what_is_not_listed_yet_is_deleted_all_the_same<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    cloud.set_lag(LAG);
    let first = begin(&*provider).await;
    provider.delete(&key()).await.expect("delete");
    assert_eq!(cloud.seen().len(), 0);
    let second = begin(&*provider).await;
    assert_ne!(second.id, first.id);
    assert_eq!(second.id.as_str(), only(cloud).id);
}

/// A name proves nothing: what lacks our mark is neither seen nor touched.
pub async fn cache_of_the_same_name_is_not_ours<C: FakedCloud>(cloud: &C) {
    let provider = open(cloud).await;
    let foreign = cloud.add_foreign(key().as_str());
    assert_eq!(provider.get(&key()).await.expect("get"), None);
    assert_eq!(provider.list().await.expect("list"), []);
    let ours = begin(&*provider).await;
    assert_ne!(ours.id.as_str(), foreign);
    for _ in 0..2 {
        provider.delete(&key()).await.expect("delete");
        assert_eq!(only(cloud).id, foreign);
    }
}

/// Two installations with the same key in one account have a cache each.
pub async fn installations_share_an_account<C: FakedCloud>(cloud: &C) {
    let (one, two) = (open(cloud).await, cloud.open_as(Some("cluster-2")).await);
    let first = begin(&*one).await;
    assert_eq!(two.get(&key()).await.expect("get"), None);
    assert_eq!(two.list().await.expect("list"), []);
    two.delete(&key()).await.expect("delete");
    assert_eq!(only(cloud).id, first.id.as_str());
    begin(&*two).await;
    for provider in [&one, &two] {
        assert_eq!(provider.list().await.expect("list").len(), 1);
        assert!(provider.capabilities().marks_owner);
    }
    assert_eq!(cloud.seen().len(), 2);
}

/// The command line sees what every installation made, calls none of it a duplicate, and has its own beside it.
pub async fn command_line_sees_every_installation<C: FakedCloud>(cloud: &C) {
    cloud.add_foreign("somebody-elses");
    for owner in [OWNER, "cluster-2"] {
        begin(&*cloud.open_as(Some(owner)).await).await;
    }
    let cli = cloud.open_as(None).await;
    assert!(!cli.capabilities().marks_owner);
    assert_eq!(cli.list().await.expect("list").len(), 2);
    begin(&*cli).await;
    assert_eq!(cloud.seen().len(), 3, "the key has a cache already");
    let by_hand = CacheKey::new("by hand", &spec());
    cli.ensure(&by_hand, &spec()).await.expect("ensure");
    assert_eq!(cli.list().await.expect("list").len(), 3);
    let listed = open(cloud).await.list().await.expect("list");
    assert_eq!(listed.len(), 1, "the installation sees its own");
    cli.delete(&by_hand).await.expect("delete");
    assert_eq!(cli.list().await.expect("list").len(), 2);
}
