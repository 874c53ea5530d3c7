//! Doing a call again while that makes sense, and sending a slow one twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use imagecache_blocks::Error;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::trouble::{Action, Trouble};

/// Attempts of a call that is not answered properly; with the delays below some 15 seconds.
const ATTEMPTS: u32 = 9;
/// How long throttling is waited out.
const THROTTLED: Duration = Duration::from_secs(300);
/// How long a new snapshot may be unknown: "about two minutes" by the EBS team, 56 s are on record (awslabs/coldsnap#43).
const FRESH: Duration = Duration::from_secs(120);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// How long a snapshot that was started at `started` may still be unknown.
pub(crate) fn fresh_until(started: Timestamp) -> Instant {
    let age = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default();
    Instant::now() + FRESH.saturating_sub(age)
}

/// A call, for messages and patience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The IAM action.
    pub(crate) action: &'static str,
    /// What it is for.
    pub(crate) what: &'a str,
    /// Until when the snapshot may be unknown.
    pub(crate) fresh_until: Option<Instant>,
    /// Once true, no other attempt is made.
    pub(crate) stop: Option<&'a AtomicBool>,
}

impl<'a> Call<'a> {
    /// One without patience for new snapshots, that nobody stops.
    pub(crate) fn new(action: &'static str, what: &'a str) -> Self {
        Self {
            action,
            what,
            fresh_until: None,
            stop: None,
        }
    }
}

impl Call<'_> {
    /// Calls `attempt` until it works or cannot. Returns the last trouble otherwise.
    pub(crate) async fn run<T, F, Fut>(&self, mut attempt: F) -> Result<T, Trouble>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Trouble>>,
    {
        let begin = Instant::now();
        let mut unanswered = 0;
        for number in 0_u32.. {
            let trouble = match attempt().await {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            let again = match trouble.action {
                Action::Fail(_) => false,
                Action::SlowDown => begin.elapsed() < THROTTLED,
                Action::AgainWhileFresh => self.fresh_until.is_some_and(|until| Instant::now() < until),
                Action::Again => {
                    unanswered += 1;
                    unanswered < ATTEMPTS
                }
            };
            let stopped = self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
            if stopped || !again {
                return Err(trouble);
            }
            tracing::debug!(
                action = self.action,
                what = self.what,
                code = trouble.code,
                message = trouble.message,
                "tried again"
            );
            sleep(delay(number, fastrand::f64())).await;
        }
        Err(Trouble::unanswered("tried too often"))
    }

    /// Like [`run`](Self::run), with the error for whoever asked.
    pub(crate) async fn finish<T, F, Fut>(&self, attempt: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Trouble>>,
    {
        self.run(attempt)
            .await
            .map_err(|trouble| trouble.into_error(self.action, self.what))
    }
}

/// The pause after attempt `number`, from half to all of a delay that doubles; `die` is from 0 to 1.
fn delay(number: u32, die: f64) -> Duration {
    let full = FIRST_DELAY.saturating_mul(1 << number.min(10)).min(LONGEST_DELAY);
    full.mul_f64(0.5 + die / 2.0)
}

/// Sends once more what is not answered `after` a while, and takes the answer that comes first. For calls that may be repeated.
pub(crate) async fn hedged<T, F, Fut>(after: Duration, mut send: F) -> Result<T, Trouble>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Trouble>>,
{
    let mut running = FuturesUnordered::from_iter([send()]);
    let late = sleep(after);
    tokio::pin!(late);
    tokio::select! {
        Some(first) = running.next() => return first,
        () = &mut late => running.push(send()),
    }
    let mut outcome = Err(Trouble::unanswered("nothing was sent"));
    while let Some(answer) = running.next().await {
        outcome = answer;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use imagecache_core::ErrorKind;

    use super::*;

    fn trouble(action: Action) -> Trouble {
        Trouble {
            action,
            ..Trouble::unanswered("told to")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_depends_on_the_cause() {
        let fresh = Some(Instant::now() + FRESH);
        for (name, action, fresh_until, least, most) in [
            ("refused", Action::Fail(ErrorKind::PermissionDenied), fresh, 0, 0),
            ("unanswered", Action::Again, fresh, 5, 30),
            ("throttled", Action::SlowDown, None, 295, 310),
            ("unknown and old", Action::AgainWhileFresh, None, 0, 0),
            (
                "unknown and fresh",
                Action::AgainWhileFresh,
                Some(Instant::now() + FRESH + Duration::from_secs(400)),
                110,
                600,
            ),
        ] {
            let call = Call {
                action: "ebs:Test",
                what: "a snapshot",
                fresh_until,
                stop: None,
            };
            let begin = Instant::now();
            let outcome: Result<(), Trouble> = call.run(|| async { Err(trouble(action)) }).await;
            let took = begin.elapsed().as_secs();
            assert_eq!(outcome.unwrap_err().action, action, "{name}");
            assert!((least..=most).contains(&took), "{name}: {took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_again_once_it_was_stopped() {
        let stop = AtomicBool::new(true);
        let call = Call {
            stop: Some(&stop),
            ..Call::new("ebs:Test", "a snapshot")
        };
        let begin = Instant::now();
        let outcome: Result<(), Trouble> = call.run(|| async { Err(trouble(Action::SlowDown)) }).await;
        assert_eq!(outcome.unwrap_err().action, Action::SlowDown);
        assert!(begin.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_is_sent_twice_and_no_more() {
        for (name, first, second, sent, works, takes) in [
            ("quick", (1, true), (1, true), 1, true, 1),
            ("quick refusal", (1, false), (1, true), 1, false, 1),
            ("slow", (100, true), (1, true), 2, true, 11),
            ("slow, the second fails", (30, true), (1, false), 2, true, 30),
            ("slow, both fail", (30, false), (1, false), 2, false, 30),
        ] {
            let count = AtomicUsize::new(0);
            let begin = Instant::now();
            let outcome = hedged(Duration::from_secs(10), || {
                let (seconds, good) = if count.fetch_add(1, Ordering::Relaxed) == 0 {
                    first
                } else {
                    second
                };
                async move {
                    sleep(Duration::from_secs(seconds)).await;
                    if good { Ok(()) } else { Err(trouble(Action::Again)) }
                }
            })
            .await;
            assert_eq!(count.into_inner(), sent, "{name}");
            assert_eq!(outcome.is_ok(), works, "{name}");
            assert_eq!(begin.elapsed().as_secs(), takes, "{name}");
        }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        assert_eq!(delay(0, 1.0), FIRST_DELAY);
        assert_eq!(delay(1, 1.0), FIRST_DELAY * 2);
        assert_eq!(delay(1, 0.0), FIRST_DELAY);
        assert_eq!(delay(60, 1.0), LONGEST_DELAY);
    }
}
