//! The one table over [`ErrorKind`]: when to try again, and how the object looks meanwhile.

use std::time::Duration;

use imagecache_core::ErrorKind;
use imagecache_k8s_api::ReportPhase;

/// What a kind of error means for an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    /// Delay before the first new attempt and the longest one; `None` waits for a changed spec.
    pub(super) retry: Option<(Duration, Duration)>,
    /// The phase that users see meanwhile.
    pub(super) phase: ReportPhase,
}

/// A vendor's `Retry-After` is honoured up to here, so that a nonsense value does not park an object for ever.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// Doublings after which the delay is at its cap for every row of the table.
const MOST_DOUBLINGS: u32 = 16;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The table.
///
/// - A user's mistake is not tried again, except what the user may correct elsewhere (a secret, an image): slowly.
/// - A full disk or quota needs somebody, who wants to see the effect soon: at most a minute.
/// - What passes by itself shows as work in progress; everything else shows as failed, even while it is tried again.
pub(super) fn policy(kind: ErrorKind) -> Policy {
    let (retry, phase) = match kind {
        ErrorKind::InvalidSpec | ErrorKind::Unsupported => (None, ReportPhase::Failed),
        ErrorKind::NotFound | ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
            (Some((seconds(30), seconds(600))), ReportPhase::Failed)
        }
        ErrorKind::QuotaExceeded => (Some((seconds(5), seconds(60))), ReportPhase::Failed),
        ErrorKind::RateLimited | ErrorKind::Unavailable => (Some((seconds(5), seconds(300))), ReportPhase::Pending),
        ErrorKind::Conflict => (Some((seconds(1), seconds(60))), ReportPhase::Pending),
        ErrorKind::Internal => (Some((seconds(30), seconds(600))), ReportPhase::Failed),
    };
    Policy { retry, phase }
}

/// How long to wait before attempt number `attempt` (0 is the first new one); `None` is for ever.
pub(crate) fn delay(kind: ErrorKind, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
    let (first, longest) = policy(kind).retry?;
    let asked = retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER));
    let own = first.saturating_mul(1 << attempt.min(MOST_DOUBLINGS)).min(longest);
    Some(asked.unwrap_or(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row_that_fits_it() {
        for kind in ErrorKind::ALL {
            let row = policy(kind);
            let working = row.phase == ReportPhase::Pending;
            assert_eq!(
                working,
                kind.is_transient(),
                "{kind:?}: only what passes by itself looks like work"
            );
            assert!(
                !working || row.retry.is_some(),
                "{kind:?}: what looks like work must be tried again"
            );
        }
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let seconds_of = |attempt| delay(ErrorKind::Unavailable, attempt, None).map(|delay| delay.as_secs());
        let all: Vec<_> = (0..8).map(seconds_of).collect();
        assert_eq!(all, [5, 10, 20, 40, 80, 160, 300, 300].map(Some));
        assert_eq!(seconds_of(u32::MAX), Some(300));
    }

    #[test]
    fn the_other_side_may_say_when() {
        let asked = |seconds| delay(ErrorKind::RateLimited, 3, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(u64::MAX), Some(LONGEST_RETRY_AFTER));
        assert_eq!(delay(ErrorKind::InvalidSpec, 0, Some(Duration::from_secs(1))), None);
    }
}
