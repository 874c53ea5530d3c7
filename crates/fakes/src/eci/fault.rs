//! What can go wrong on purpose, and how often one may call.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::wire::{Delivery, Refusal, Reply};

/// One thing that goes wrong with a call that is otherwise in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 503, and nothing was done.
    ServerErrorBefore,
    /// HTTP 500, and all was done.
    ServerErrorAfter,
    /// All was done and no answer comes; the connection stays open.
    NoAnswer,
    /// Nothing was done and no answer comes; the connection stays open.
    NoAnswerBefore,
    /// All was done; the connection ends in the middle of the answer's body.
    CutBody,
    /// All was done; the answer is a 200 whose body is not the documented JSON.
    WrongJson,
    /// Refused for its rate.
    Throttled {
        /// Value of `x-acs-retry-after`.
        retry_after_ms: Option<u64>,
    },
    /// Refused with this code; nothing was done.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The vendor's code.
        code: String,
        /// The vendor's message.
        message: String,
    },
}

/// Faults that wait for their calls.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    queued: HashMap<String, VecDeque<(Fault, usize)>>,
}

impl Faults {
    pub(crate) fn push(&mut self, action: &str, fault: Fault, times: usize) {
        if times > 0 {
            self.queued
                .entry(action.to_owned())
                .or_default()
                .push_back((fault, times));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.queued.clear();
    }

    /// The fault that the next call of this action meets.
    pub(crate) fn take(&mut self, action: &str) -> Option<Fault> {
        let queue = self.queued.get_mut(action)?;
        let (fault, left) = queue.front_mut()?;
        let fault = fault.clone();
        *left -= 1;
        if *left == 0 {
            queue.pop_front();
        }
        Some(fault)
    }
}

impl Fault {
    /// What is answered instead of doing anything.
    pub(crate) fn before(&self) -> Option<Result<Reply, Refusal>> {
        match self {
            Self::ServerErrorBefore => {
                let message = "The request has failed due to a temporary failure of the server.";
                Some(Err(Refusal::new(503, "ServiceUnavailable", message)))
            }
            Self::NoAnswerBefore => {
                let mut reply = Reply::new(200, "application/json", "{}");
                reply.delivery = Delivery::Never;
                Some(Ok(reply))
            }
            Self::Throttled { retry_after_ms } => Some(Err(throttled(*retry_after_ms))),
            Self::Refuse { status, code, message } => Some(Err(Refusal::new(*status, code, message))),
            Self::ServerErrorAfter | Self::NoAnswer | Self::CutBody | Self::WrongJson => None,
        }
    }

    /// What becomes of the answer after all was done.
    pub(crate) fn after(&self, mut reply: Reply) -> Result<Reply, Refusal> {
        match self {
            Self::ServerErrorAfter => {
                let message = "The request processing has failed due to some unknown error.";
                return Err(Refusal::new(500, "InternalError", message));
            }
            Self::NoAnswer => reply.delivery = Delivery::Never,
            Self::CutBody => reply.delivery = Delivery::Cut,
            Self::WrongJson => reply.body = b"<html><body>502 Bad Gateway</body></html>".to_vec(),
            _ => {}
        }
        Ok(reply)
    }
}

/// Too many calls.
pub(crate) fn throttled(retry_after_ms: Option<u64>) -> Refusal {
    let message = "Request was denied due to request throttling.";
    let mut refusal = Refusal::new(400, "Throttling", message);
    refusal.retry_after_ms = retry_after_ms;
    refusal
}

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
