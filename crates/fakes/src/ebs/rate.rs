//! How often an action may be called: a bucket of tokens, filled by the wall clock.

use std::time::{Duration, Instant};

/// How much of a second's calls may come at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        let most = (per_second * BURST.as_secs_f64()).max(1.0);
        Self {
            per_second,
            most,
            tokens: most,
            filled: now,
        }
    }

    /// Whether one more call fits now; it is counted by [`Bucket::take`].
    pub(crate) fn has(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        self.filled = now;
        self.tokens >= 1.0
    }

    pub(crate) fn take(&mut self) {
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_and_one_burst_passes() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_000, start);
        let mut passed = 0;
        // Five calls a millisecond for two seconds.
        for call in 0..10_000_u64 {
            if bucket.has(start + Duration::from_micros(call * 200)) {
                bucket.take();
                passed += 1;
            }
        }
        assert!((2_090..=2_100).contains(&passed), "{passed} calls passed");
    }

    #[test]
    fn a_slow_rate_still_lets_single_calls_pass() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, start);
        assert!(bucket.has(start));
        bucket.take();
        assert!(!bucket.has(start + Duration::from_millis(900)));
        assert!(bucket.has(start + Duration::from_millis(1_100)));
    }
}
