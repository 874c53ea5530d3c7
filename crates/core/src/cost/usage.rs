//! How big a cache is, how long it is kept and by how many pods it is used.

use serde::Serialize;

use super::money::parse_scaled;
use crate::{MAX_RETENTION_DAYS, MAX_SIZE_GIB};

/// Bytes of a GiB.
pub(super) const GIB_BYTES: u128 = 1 << 30;
/// Seconds of a billing month of 30 days.
pub(super) const MONTH_SECONDS: u128 = 30 * DAY_SECONDS as u128;

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// Longest duration that is calculated with: the longest retention that a vendor takes.
const MAX_SECONDS: u64 = MAX_RETENTION_DAYS as u64 * DAY_SECONDS;
/// Most pods that are calculated with: several times the largest cluster. With the other limits no amount overflows.
pub const MAX_PODS: u32 = 1_000_000;

/// What is built, kept and used: one cache, and pods that each run for the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Size of the cache in GiB: of the build's disk and of each pod's.
    pub size_gib: u32,
    /// Bytes that the cache holds: of its snapshot.
    pub content_bytes: u64,
    /// How long the build takes, until its instance and its disk are removed.
    pub build_seconds: u64,
    /// How long the cache is kept once it is built.
    pub keep_seconds: u64,
    /// Pods that use it, in all.
    pub pods: u32,
    /// How long each of them runs.
    pub pod_seconds: u64,
}

/// A quantity outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// The disk is larger than any vendor's.
    #[error("a size of {0} GiB is above {MAX_SIZE_GIB}")]
    Size(u32),
    /// More is held than there is room for.
    #[error("the content of {content} GiB does not fit into a cache of {size} GiB", content = super::money::ratio(u128::from(*.content_bytes), GIB_BYTES, 3))]
    Content {
        /// What it should hold.
        content_bytes: u64,
        /// Its size in GiB.
        size: u32,
    },
    /// Longer than anything is kept.
    #[error("the {what} is longer than {MAX_RETENTION_DAYS} days")]
    Duration {
        /// Which one.
        what: &'static str,
    },
    /// More pods than calculated with.
    #[error("{0} pods are more than {MAX_PODS}")]
    Pods(u32),
    /// Not a number.
    #[error("`{0}` is not a decimal number from 0 on, such as 3 or 0.5")]
    Number(String),
}

impl Usage {
    /// Checks every range. Zero is allowed everywhere.
    ///
    /// # Errors
    ///
    /// Names the quantity and its limit.
    pub fn check(&self) -> Result<(), UsageError> {
        if self.size_gib > MAX_SIZE_GIB {
            return Err(UsageError::Size(self.size_gib));
        }
        if u128::from(self.content_bytes) > u128::from(self.size_gib) * GIB_BYTES {
            return Err(UsageError::Content {
                content_bytes: self.content_bytes,
                size: self.size_gib,
            });
        }
        for (what, seconds) in [
            ("build", self.build_seconds),
            ("time that the cache is kept", self.keep_seconds),
            ("life of a pod", self.pod_seconds),
        ] {
            if seconds > MAX_SECONDS {
                return Err(UsageError::Duration { what });
            }
        }
        if self.pods > MAX_PODS {
            return Err(UsageError::Pods(self.pods));
        }
        Ok(())
    }
}

/// What people give quantities in; [`Usage`] counts whole bytes and seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// 2³⁰ bytes.
    Gib,
    /// 60 seconds.
    Minutes,
    /// 3,600 seconds.
    Hours,
    /// 86,400 seconds.
    Days,
}

impl Amount {
    /// Reads a decimal number of these as whole bytes or seconds, rounded half up.
    ///
    /// # Errors
    ///
    /// When it is no decimal number from 0 on, or too large to count.
    pub fn parse(self, text: &str) -> Result<u64, UsageError> {
        let per_unit = match self {
            Self::Gib => 1 << 30,
            Self::Minutes => 60,
            Self::Hours => 3_600,
            Self::Days => DAY_SECONDS,
        };
        parse_scaled(text, per_unit).ok_or_else(|| UsageError::Number(text.to_owned()))
    }
}
