//! How fast blocks may be sent: a token bucket whose rate gives way when the service throttles (AIMD).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Time whose unused slots may be made up for: timers are no finer than a few milliseconds.
const BURST: Duration = Duration::from_millis(20);
/// What is left of the rate after a throttled call.
const CUT: f64 = 0.85;
/// Calls that are throttled within this time of a cut were made before it and say nothing new.
const CUT_PAUSE: Duration = Duration::from_millis(100);
/// Share of the full rate that comes back in a second.
const GROWTH_PER_SECOND: f64 = 0.25;
/// The rate never falls below this share of the full one, nor below one call a second.
const FLOOR: f64 = 0.01;

/// Slots in time. Shared by everybody to whom one quota applies.
#[derive(Debug)]
pub(crate) struct Pace {
    full: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: f64,
    /// The next free slot.
    next: Instant,
    grown: Instant,
    cut: Option<Instant>,
}

impl Pace {
    /// At most this many calls a second; none counts as one.
    pub(crate) fn new(per_second: u32) -> Self {
        let full = f64::from(per_second.max(1));
        let now = Instant::now();
        let state = State {
            rate: full,
            next: now,
            grown: now,
            cut: None,
        };
        Self {
            full,
            state: Mutex::new(state),
        }
    }

    /// Waits for a slot.
    pub(crate) async fn slot(&self) {
        let at = self.reserve(Instant::now());
        sleep_until(at).await;
    }

    /// Notes that the service wants fewer calls.
    pub(crate) fn throttled(&self) {
        self.cut_at(Instant::now());
    }

    fn reserve(&self, now: Instant) -> Instant {
        let mut state = self.state();
        state.grow(self.full, now);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let at = state.next.max(earliest);
        state.next = at + Duration::from_secs_f64(1.0 / state.rate);
        at
    }

    fn cut_at(&self, now: Instant) {
        let mut state = self.state();
        state.grow(self.full, now);
        if state.cut.is_some_and(|cut| now < cut + CUT_PAUSE) {
            return;
        }
        state.cut = Some(now);
        state.rate = (state.rate * CUT).max(self.full * FLOOR).max(1.0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grow(&mut self, full: f64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.grown).as_secs_f64();
        self.grown = self.grown.max(now);
        self.rate = (self.rate + full * GROWTH_PER_SECOND * elapsed).min(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots that are given within `time` when somebody always waits.
    fn slots(pace: &Pace, start: Instant, time: Duration) -> usize {
        let mut now = start;
        let mut count = 0;
        loop {
            now = now.max(pace.reserve(now));
            if now >= start + time {
                return count;
            }
            count += 1;
        }
    }

    #[tokio::test]
    async fn a_second_has_as_many_slots_as_the_quota() {
        let pace = Pace::new(1000);
        let found = slots(&pace, Instant::now(), Duration::from_secs(1));
        assert!((1000..=1020).contains(&found), "{found}");
    }

    #[tokio::test]
    async fn a_pause_is_made_up_for_no_further_than_the_burst() {
        let pace = Pace::new(1000);
        let later = Instant::now() + Duration::from_secs(60);
        let at_once = (0..1000).filter(|_| pace.reserve(later) <= later).count();
        assert!((15..=25).contains(&at_once), "{at_once}");
    }

    #[tokio::test]
    async fn throttling_cuts_once_for_calls_that_were_under_way_and_the_rate_comes_back() {
        let pace = Pace::new(1000);
        let now = Instant::now();
        (0..50).for_each(|_| pace.cut_at(now));
        assert!((845.0..=855.0).contains(&pace.state().rate));
        (1..100).for_each(|n| pace.cut_at(now + CUT_PAUSE * n));
        let low = pace.state().rate;
        assert!((10.0..300.0).contains(&low), "{low}");
        pace.reserve(now + CUT_PAUSE * 100 + Duration::from_secs(5));
        assert!(pace.state().rate >= 999.0);
    }
}
