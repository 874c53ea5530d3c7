//! What goes wrong on purpose.

use std::collections::{HashMap, VecDeque};

use super::{Delivery, Reply};

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
        /// How long to wait, from services that say so.
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

/// What becomes of an answer after all was done.
pub(crate) fn spoil(fault: &Fault, mut reply: Reply) -> Reply {
    match fault {
        Fault::NoAnswer => reply.delivery = Delivery::Never,
        Fault::CutBody => reply.delivery = Delivery::Cut,
        Fault::WrongJson => reply.body = b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        _ => {}
    }
    reply
}

/// Faults that wait for their calls.
#[derive(Debug, Default)]
pub struct Faults {
    queued: HashMap<String, VecDeque<(Fault, usize)>>,
}

impl Faults {
    pub(crate) fn push(&mut self, action: &str, fault: Fault, times: usize) {
        if times > 0 {
            let queue = self.queued.entry(action.to_owned()).or_default();
            queue.push_back((fault, times));
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
