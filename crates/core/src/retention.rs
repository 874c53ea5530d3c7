//! How long a cache is kept.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A failed cache is kept this long so that people can read why; both the Alibaba API ("one day") and its documents say so.
pub const FAILED_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Smallest retention in days that Alibaba's CRD documents.
pub const MIN_RETENTION_DAYS: u32 = 1;
/// Largest retention in days that Alibaba's CRD documents.
pub const MAX_RETENTION_DAYS: u32 = 65_536;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a cache may be removed by itself. By default never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Retention {
    /// Until somebody deletes it.
    #[default]
    Forever,
    /// This many days after it was created.
    Days(u32),
}

impl Retention {
    /// `None` and 0 days mean for ever, as Tencent's API has it.
    pub fn from_days(days: Option<u32>) -> Self {
        match days {
            None | Some(0) => Self::Forever,
            Some(days) => Self::Days(days),
        }
    }

    /// The days, when there is a limit.
    pub fn days(self) -> Option<u32> {
        match self {
            Self::Forever => None,
            Self::Days(days) => Some(days),
        }
    }

    /// When a cache created at `created_at` expires; `failed_at` is set for a failed one, which expires
    /// [`FAILED_RETENTION`] after it failed whatever the retention says.
    pub fn expires_at(self, created_at: Timestamp, failed_at: Option<Timestamp>) -> Option<Timestamp> {
        // A date beyond what a timestamp can hold is as good as never.
        match (failed_at, self) {
            (Some(failed_at), _) => failed_at.checked_add(FAILED_RETENTION).ok(),
            (None, Self::Forever) => None,
            (None, Self::Days(days)) => created_at.checked_add(DAY.saturating_mul(days)).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_table() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let created = at("2026-01-01T00:00:00Z");
        let failed = at("2026-01-05T12:00:00Z");
        for (name, retention, failed_at, expected) in [
            ("never by default", Retention::default(), None, None),
            (
                "days count from creation",
                Retention::Days(7),
                None,
                Some(at("2026-01-08T00:00:00Z")),
            ),
            (
                "failed: a day after it failed",
                Retention::Forever,
                Some(failed),
                Some(at("2026-01-06T12:00:00Z")),
            ),
            (
                "failed beats days",
                Retention::Days(365),
                Some(failed),
                Some(at("2026-01-06T12:00:00Z")),
            ),
            ("absurd retention is never", Retention::Days(u32::MAX), None, None),
            ("zero is for ever", Retention::from_days(Some(0)), None, None),
        ] {
            assert_eq!(retention.expires_at(created, failed_at), expected, "{name}");
        }
    }
}
