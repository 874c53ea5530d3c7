//! Rates on a paused clock: never more than the rate in any window, first come first served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imagecache_cloud_http::{Rate, RateLimiter};
use tokio::time::Instant;

fn limiter(rates: &[(&str, Rate)], overall: Option<Rate>) -> Arc<RateLimiter> {
    let rates: BTreeMap<String, Rate> = rates
        .iter()
        .map(|(action, rate)| ((*action).to_owned(), *rate))
        .collect();
    Arc::new(RateLimiter::new(rates, overall))
}

/// Lets `calls` calls of each action go at once; when each got its turn, in order of turns.
async fn turns(
    limiter: &Arc<RateLimiter>,
    actions: &[&'static str],
    calls: usize,
) -> Vec<(&'static str, usize, Instant)> {
    let turns = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..calls {
        for action in actions.iter().copied() {
            let (limiter, turns) = (Arc::clone(limiter), Arc::clone(&turns));
            tasks.spawn(async move {
                limiter.acquire(action).await;
                turns.lock().unwrap().push((action, number, Instant::now()));
            });
        }
    }
    while tasks.join_next().await.is_some() {}
    let turns = turns.lock().unwrap();
    turns.clone()
}

/// No window of the rate's length has more calls than the rate allows.
fn assert_within(rate: Rate, times: &[Instant], name: &str) {
    for pair in times.windows(rate.calls() as usize + 1) {
        let span = pair[pair.len() - 1] - pair[0];
        assert!(span > rate.window(), "{name}: {} calls in {span:?}", pair.len());
    }
}

#[tokio::test(start_paused = true)]
async fn no_window_has_more_calls_than_the_rate() {
    for rate in [
        Rate::per_second(20),
        Rate::per_minute(200),
        Rate::per_second(1),
        Rate::per_second(300),
    ] {
        let limiter = limiter(&[("List", rate)], None);
        let begin = Instant::now();
        let turns = turns(&limiter, &["List"], 700).await;
        let times: Vec<Instant> = turns.iter().map(|turn| turn.2).collect();
        assert_within(rate, &times, &rate.to_string());
        let numbers: Vec<usize> = turns.iter().map(|turn| turn.1).collect();
        assert!(numbers.is_sorted(), "first come, first served");
        // Nor much slower than it may be; the runtime's timer has a grain of a millisecond.
        let ideal = rate.spacing() * 699;
        let took = times[699] - begin;
        assert!(
            took < ideal.mul_f64(1.06) + Duration::from_millis(2 * 700),
            "{rate}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_overall_rate_binds_all_and_no_action_blocks_another() {
    let (slow, overall) = (Rate::per_second(1), Rate::per_second(10));
    let limiter = limiter(&[("create", slow)], Some(overall));
    let turns = turns(&limiter, &["Create", "List"], 40).await;
    let all: Vec<Instant> = turns.iter().map(|turn| turn.2).collect();
    assert_within(overall, &all, "overall");
    let of = |action: &str| -> Vec<Instant> {
        let of_action = turns.iter().filter(|turn| turn.0 == action);
        of_action.map(|turn| turn.2).collect()
    };
    assert_within(slow, &of("Create"), "create");
    assert!(
        of("List")[39] - all[0] < Duration::from_secs(6),
        "waits for its own slots only"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_nothing_waits() {
    let limiter = limiter(&[], None);
    let begin = Instant::now();
    let turns = turns(&limiter, &["List"], 100).await;
    assert!(turns.iter().all(|turn| turn.2 == begin));
}

#[tokio::test(start_paused = true)]
async fn throttling_pauses_all_that_wait_then_slows_down_and_recovers() {
    for rates in [vec![("List", Rate::per_second(20))], vec![]] {
        let limiter = limiter(&rates, None);
        limiter.acquire("List").await;
        let begin = Instant::now();
        if rates.is_empty() {
            // Without slots nobody waits until a pause begins.
            limiter.throttled("List", Duration::from_secs(3));
        }
        let waiting = {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move { turns(&limiter, &["List"], 60).await })
        };
        tokio::task::yield_now().await;
        // Those that were under way together are one event, and the longest pause counts.
        for _ in 0..10 {
            limiter.throttled("List", Duration::from_secs(3));
        }
        limiter.throttled("List", Duration::from_secs(1));
        let turns = waiting.await.unwrap();
        let times: Vec<Instant> = turns.iter().map(|turn| turn.2).filter(|at| *at > begin).collect();
        assert!(
            times[0] - begin >= Duration::from_secs(3),
            "{rates:?}: {:?}",
            times[0] - begin
        );
        let first = times[1] - times[0];
        assert!(
            first >= Duration::from_millis(90) && first <= Duration::from_millis(110),
            "{rates:?}: {first:?}"
        );
        let last = times[times.len() - 1] - times[times.len() - 2];
        assert!(last <= Duration::from_millis(54), "{rates:?}: {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_pause_ends_and_other_actions_have_none() {
    let limiter = limiter(&[], None);
    limiter.throttled("List", Duration::MAX);
    let begin = Instant::now();
    limiter.acquire("Create").await;
    assert_eq!(Instant::now(), begin);
    limiter.acquire("List").await;
    assert_eq!((Instant::now() - begin).as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_costs_no_slot() {
    let limiter = limiter(&[("List", Rate::per_second(1))], None);
    limiter.acquire("List").await;
    let begin = Instant::now();
    for _ in 0..5 {
        let waited = tokio::time::timeout(Duration::from_millis(100), limiter.acquire("List")).await;
        assert!(waited.is_err());
    }
    limiter.acquire("List").await;
    assert!(Instant::now() - begin < Duration::from_millis(1100));
}
