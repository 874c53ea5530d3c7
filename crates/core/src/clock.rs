//! Time as an argument: whatever needs "now" is given a [`Clock`], so that tests can move it.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the current time. Cheap to clone and to call.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The host's clock.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}
