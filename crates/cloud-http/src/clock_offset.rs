//! How far the service's clock is from this machine's, learnt when a signature is refused for its time.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A smaller difference is not what a signature is refused for, and not worth a word: services accept minutes.
const WORTH_TELLING: SignedDuration = SignedDuration::from_secs(60);

/// The offset, in whole seconds: the service tells its time in no finer unit.
#[derive(Debug, Default)]
pub(crate) struct ClockOffset(AtomicI64);

impl ClockOffset {
    /// The service's time when this machine's clock shows `local`.
    pub(crate) fn apply(&self, local: Timestamp) -> Timestamp {
        let offset = SignedDuration::from_secs(self.0.load(Ordering::Relaxed));
        local.checked_add(offset).unwrap_or(local)
    }

    /// Remembers that the service's clock shows `service` when this machine's shows `local`, and says so when that is
    /// news. Answers how far this machine's clock is behind.
    pub(crate) fn learn(&self, host: &str, service: Timestamp, local: Timestamp) -> SignedDuration {
        let behind = service.duration_since(local);
        let known = SignedDuration::from_secs(self.0.swap(behind.as_secs(), Ordering::Relaxed));
        if is_worth_telling(behind - known) {
            tracing::warn!(
                host,
                seconds_behind = behind.as_secs(),
                "this machine's clock differs from the service's; calls are signed with the service's time, but set the clock"
            );
        }
        behind
    }
}

/// Whether a clock that is this far off explains a refused signature.
pub(crate) fn is_worth_telling(difference: SignedDuration) -> bool {
    difference.abs() >= WORTH_TELLING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_service_and_back() {
        let offset = ClockOffset::default();
        let local: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(offset.apply(local), local);
        for seconds in [3600, -900, 0] {
            let behind = SignedDuration::from_secs(seconds);
            assert_eq!(offset.learn("h", local + behind, local), behind);
            assert_eq!(offset.apply(local), local + behind);
        }
    }
}
