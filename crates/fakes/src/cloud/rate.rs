//! How often one may call.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

/// At most so many calls in any window of this length.
#[derive(Debug)]
pub(crate) struct Rate {
    calls: usize,
    window: Duration,
    taken: VecDeque<Timestamp>,
}

impl Rate {
    pub(crate) fn new(calls: u32, window: Duration) -> Self {
        Self {
            calls: usize::try_from(calls).unwrap_or(usize::MAX),
            window,
            taken: VecDeque::new(),
        }
    }

    /// Whether one more call fits now; if so it is counted.
    pub(crate) fn admit(&mut self, now: Timestamp) -> bool {
        while self.taken.front().is_some_and(|at| *at + self.window <= now) {
            self.taken.pop_front();
        }
        let fits = self.taken.len() < self.calls;
        if fits {
            self.taken.push_back(now);
        }
        fits
    }
}
