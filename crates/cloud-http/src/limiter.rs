//! Keeps an account's calls to its rates: every action has a lane with evenly spaced slots, and all share one more.
//!
//! Slots are even, not saved up: a service counts in windows of its own, and a burst that is fine in ours breaks theirs.
//! Only the first in a lane waits for a slot; the others queue behind it, first come first served. So a pause moves all
//! of them at once, and a caller that gives up while it waits costs no slot.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::Rate;

/// Slots are this much wider than the rate asks for. Calls arrive less evenly than they leave, and it is the arrival
/// that is counted: at `20/s`, one call may be 50 ms late without a 21st in its second.
const MARGIN: f64 = 1.05;
/// Slots are this wide after throttling where no rate is set.
const UNRATED_SPACING: Duration = Duration::from_millis(50);
/// A throttled lane's slots become this much wider…
const WIDEN: f64 = 2.0;
/// … until they are this much wider than normal…
const WIDEST: f64 = 8.0;
/// … and every call that goes through narrows them by this factor, so that 20 calls bring them back from the widest.
const NARROW: f64 = 0.9;
/// Longest pause of a lane. When a service asks for more, one call asks again after this time instead of all waiting on.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The calls of one account. Clients of the same account share one.
#[derive(Debug)]
pub struct RateLimiter {
    rates: BTreeMap<String, Rate>,
    lanes: Mutex<HashMap<&'static str, Arc<Lane>>>,
    overall: Lane,
}

impl RateLimiter {
    /// A limiter with a rate for each action named, in any case of letters, and one for all together.
    pub fn new(rates: BTreeMap<String, Rate>, overall: Option<Rate>) -> Self {
        Self {
            rates,
            lanes: Mutex::default(),
            overall: Lane::new(overall),
        }
    }

    /// Waits until it is this call's turn. Dropping the future gives the place in the queue up.
    pub async fn acquire(&self, action: &'static str) {
        let lane = self.lane(action);
        let _first = lane.queue.lock().await;
        loop {
            lane.ready().await;
            let _first_of_all = self.overall.queue.lock().await;
            self.overall.ready().await;
            // The lane may have been paused in the meantime.
            if lane.slot() <= Instant::now() {
                self.overall.take();
                lane.take();
                return;
            }
        }
    }

    /// Notes that the service refused `action` as too frequent: no call of it before `delay` is over, at most a minute,
    /// and then more slowly for a while.
    pub fn throttled(&self, action: &'static str, delay: Duration) {
        self.lane(action).pause(delay.min(MAX_PAUSE));
    }

    fn lane(&self, action: &'static str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(action).or_insert_with(|| {
            let rate = self.rates.iter().find(|(name, _)| name.eq_ignore_ascii_case(action));
            Arc::new(Lane::new(rate.map(|(_, rate)| *rate)))
        });
        Arc::clone(lane)
    }
}

/// Evenly spaced slots.
#[derive(Debug)]
struct Lane {
    /// Distance of slots without throttling; zero is no limit.
    spacing: Duration,
    /// Held by whoever is first; tokio's mutex is fair.
    queue: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// When the next call may go.
    slot: Instant,
    /// End of the last pause.
    paused_until: Instant,
    /// How much wider than normal slots are.
    width: f64,
}

impl Lane {
    fn new(rate: Option<Rate>) -> Self {
        let now = Instant::now();
        Self {
            spacing: rate.map_or(Duration::ZERO, |rate| rate.spacing().mul_f64(MARGIN)),
            queue: tokio::sync::Mutex::default(),
            pace: Mutex::new(Pace {
                slot: now,
                paused_until: now,
                width: 1.0,
            }),
        }
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> Instant {
        self.pace().slot
    }

    /// Waits for the slot, wherever it is moved to meanwhile.
    async fn ready(&self) {
        loop {
            let slot = self.slot();
            if slot <= Instant::now() {
                return;
            }
            sleep_until(slot).await;
        }
    }

    /// Uses the slot up. The next one is counted from now, so that a late call does not come close to its successor.
    fn take(&self) {
        let mut pace = self.pace();
        let normal = if pace.width > 1.0 {
            self.spacing.max(UNRATED_SPACING)
        } else {
            self.spacing
        };
        pace.slot = Instant::now() + normal.mul_f64(pace.width);
        pace.width = (pace.width * NARROW).max(1.0);
    }

    fn pause(&self, delay: Duration) {
        let now = Instant::now();
        let mut pace = self.pace();
        // Calls that were under way together are refused together: that is one event.
        if pace.paused_until <= now {
            pace.width = (pace.width * WIDEN).min(WIDEST);
        }
        pace.paused_until = pace.paused_until.max(now + delay);
        pace.slot = pace.slot.max(pace.paused_until);
    }
}
