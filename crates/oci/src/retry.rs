//! When to try again, and how long to wait first.

use std::time::{Duration, SystemTime};

/// How persistent we are. All limits are per request; a download starts counting anew when it makes progress.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts for one request, the first included.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles each time.
    pub base_delay: Duration,
    /// Longest wait that we choose ourselves.
    pub max_delay: Duration,
    /// Longest `Retry-After` that we obey by waiting; a longer one ends the request with `RateLimited`.
    pub max_retry_after: Duration,
    /// Time without a byte after which a connection counts as dead.
    pub stall_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(15),
            max_retry_after: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The wait after failed attempt number `attempt` (from 1): half of it fixed, half by `chance` (0 to 1), so that
    /// clients that failed together do not come back together.
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let full = self.base_delay.saturating_mul(1 << doublings).min(self.max_delay);
        full.div_f64(2.0) + full.div_f64(2.0).mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// Reads a `Retry-After` header: seconds, or a date that is compared with `now`.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:50 GMT").unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(9)),
            ("Fri, 31 Dec 1999 23:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn waits_longer_each_time_up_to_a_limit() {
        let policy = RetryPolicy::default();
        for (attempt, chance, expected) in [
            (1, 0.0, 125),
            (1, 1.0, 250),
            (2, 1.0, 500),
            (3, 0.5, 750),
            (40, 1.0, 15_000),
        ] {
            assert_eq!(
                policy.delay(attempt, chance),
                Duration::from_millis(expected),
                "{attempt} {chance}"
            );
        }
    }
}
