//! What the vendor's gateway says when something goes wrong on purpose.

use crate::cloud::{Fault, Refusal, Reply, spoil};

/// What is answered instead of doing anything.
pub(crate) fn before(fault: &Fault) -> Option<Result<Reply, Refusal>> {
    match fault {
        Fault::ServerErrorBefore => {
            let message = "The request has failed due to a temporary failure of the server.";
            Some(Err(Refusal::new(503, "ServiceUnavailable", message)))
        }
        Fault::NoAnswerBefore => Some(Ok(Reply::never())),
        Fault::Throttled { retry_after_ms } => Some(Err(throttled(*retry_after_ms))),
        Fault::Refuse { status, code, message } => Some(Err(Refusal::new(*status, code, message))),
        Fault::ServerErrorAfter | Fault::NoAnswer | Fault::CutBody | Fault::WrongJson => None,
    }
}

/// What becomes of the answer after all was done.
pub(crate) fn after(fault: &Fault, reply: Reply) -> Result<Reply, Refusal> {
    if *fault == Fault::ServerErrorAfter {
        let message = "The request processing has failed due to some unknown error.";
        return Err(Refusal::new(500, "InternalError", message));
    }
    Ok(spoil(fault, reply))
}

/// Too many calls.
pub(crate) fn throttled(retry_after_ms: Option<u64>) -> Refusal {
    let message = "Request was denied due to request throttling.";
    let mut refusal = Refusal::new(400, "Throttling", message);
    refusal.retry_after_ms = retry_after_ms;
    refusal
}
