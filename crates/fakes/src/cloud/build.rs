//! How builds go on and how they end.

use std::time::Duration;

/// How builds go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// They go on until the test says otherwise.
    #[default]
    Manual,
    /// They take this long by the service's clock.
    After {
        /// To get the build instance and to pull.
        preparing: Duration,
        /// To make the snapshot.
        creating: Duration,
    },
}

/// How a build ends that does not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEnd {
    /// With a warning among its last events.
    Failed {
        /// Reason of the event.
        reason: String,
        /// Message of the event.
        message: String,
    },
    /// Not at all.
    Hangs,
}
