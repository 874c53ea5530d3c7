//! What the metadata services of machines have in common.

use super::{Fault, Reply, State, Vendor, spoil};

/// The machine's role.
pub(crate) const ROLE: &str = "imagecache-node-role";

pub(crate) fn plain(status: u16, text: &str) -> Reply {
    Reply::new(status, "text/plain", text)
}

/// Counts a call of `what` and does the work, or what the next fault says.
pub(crate) fn served<V: Vendor>(state: &mut State<V>, what: &str, work: impl FnOnce(&mut State<V>) -> Reply) -> Reply {
    state.count_call(what);
    let fault = state.faults.take(what);
    match &fault {
        Some(Fault::ServerErrorBefore) => return plain(503, "503 - Service Unavailable"),
        Some(Fault::NoAnswerBefore) => return Reply::never(),
        Some(Fault::Throttled { .. }) => return plain(429, "429 - Too Many Requests"),
        Some(Fault::Refuse { status, message, .. }) => return plain(*status, message),
        _ => {}
    }
    let reply = work(state);
    match fault {
        Some(Fault::ServerErrorAfter) => plain(500, "500 - Internal Server Error"),
        Some(fault) => spoil(&fault, reply),
        None => reply,
    }
}
