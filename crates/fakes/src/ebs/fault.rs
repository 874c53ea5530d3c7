//! What goes wrong on purpose, with which calls.

use std::collections::HashMap;
use std::time::Duration;

use super::refusal::Refusal;

/// One way to misbehave. Where nothing else is said, nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused for its rate, in one of the service's spellings.
    Throttled(Throttle),
    /// HTTP 500 as `InternalServerException`; 502, 503 and 504 with a gateway's page.
    ServerError(u16),
    /// HTTP 500, and all was done.
    ServerErrorAfter,
    /// All is done, so much later than usual.
    Slow(Duration),
    /// No answer comes; the connection stays open.
    NoAnswer,
    /// All was done, and the connection ends without an answer.
    LostAnswer,
    /// The connection ends before the body of the request was read.
    Reset,
    /// All was done; the connection ends in the middle of the answer's body, or of its head if there is no body.
    CutBody,
    /// All was done; the answer names another checksum than that of the block.
    WrongChecksum,
    /// The block that is read has a wrong bit, and the checksum of the right one.
    WrongBytes,
    /// HTTP 404, as for a snapshot that not every part of the service knows yet.
    NotFound,
    /// HTTP 403.
    AccessDenied,
    /// HTTP 402 of the account's quota; what EC2 has no word for is `ResourceLimitExceeded`.
    Quota,
    /// Too many snapshots are pending.
    ConcurrentLimit,
    /// Refused with this exception.
    Refuse {
        /// HTTP status.
        status: u16,
        /// Name of the exception.
        code: String,
        /// Its reason, if it has one.
        reason: Option<String>,
    },
}

/// How a throttled call is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// `RequestThrottledException`, `ACCOUNT_THROTTLED`.
    Account,
    /// `RequestThrottledException`, `RESOURCE_LEVEL_THROTTLE`.
    Resource,
    /// `RequestThrottledException`, `DEPENDENCY_REQUEST_THROTTLED`.
    Dependency,
    /// The generic `ThrottlingException`, which the API's model does not have.
    Generic,
}

impl Throttle {
    /// Every spelling.
    pub const ALL: [Self; 4] = [Self::Account, Self::Resource, Self::Dependency, Self::Generic];

    pub(crate) fn refusal(self) -> Refusal {
        let (code, reason) = match self {
            Self::Account => ("RequestThrottledException", Some("ACCOUNT_THROTTLED")),
            Self::Resource => ("RequestThrottledException", Some("RESOURCE_LEVEL_THROTTLE")),
            Self::Dependency => ("RequestThrottledException", Some("DEPENDENCY_REQUEST_THROTTLED")),
            Self::Generic => ("ThrottlingException", None),
        };
        Refusal::new(400, code, reason, "Rate exceeded")
    }
}

impl Fault {
    /// The refusal that this fault is, if it is one; `ec2` wants the words of EC2.
    pub(crate) fn refusal(&self, ec2: bool) -> Option<Refusal> {
        let refusal = match self {
            Self::Throttled(_) if ec2 => Refusal::new(503, "RequestLimitExceeded", None, "Request limit exceeded."),
            Self::ServerError(status) if ec2 => Refusal::new(*status, "InternalError", None, "told to fail"),
            Self::AccessDenied if ec2 => {
                let message = "You are not authorized to perform this operation.";
                Refusal::new(403, "UnauthorizedOperation", None, message)
            }
            Self::Quota if ec2 => Refusal::new(400, "ResourceLimitExceeded", None, "told to have reached a limit"),
            Self::NotFound if ec2 => {
                Refusal::new(400, "InvalidSnapshot.NotFound", None, "The snapshot does not exist.")
            }
            Self::Throttled(throttle) => throttle.refusal(),
            Self::ServerError(status) => Refusal::new(*status, "InternalServerException", None, "told to fail"),
            Self::NotFound => Refusal::unknown_snapshot("snap-…"),
            Self::AccessDenied => Refusal::new(
                403,
                "AccessDeniedException",
                Some("UNAUTHORIZED_ACCOUNT"),
                "User is not authorized to perform this operation",
            ),
            Self::Quota => Refusal::new(
                402,
                "ServiceQuotaExceededException",
                Some("DEPENDENCY_SERVICE_QUOTA_EXCEEDED"),
                "told to have reached a quota",
            ),
            Self::ConcurrentLimit => too_many_pending(),
            Self::Refuse { status, code, reason } => Refusal::new(*status, code, reason.as_deref(), "told to refuse"),
            _ => return None,
        };
        Some(refusal)
    }
}

pub(crate) fn too_many_pending() -> Refusal {
    let message = "You have reached the limit for pending snapshots.";
    Refusal::new(400, "ConcurrentLimitExceededException", None, message)
}

/// Faults that wait for their calls.
#[derive(Debug, Default)]
pub(crate) struct Faults(HashMap<String, Vec<Planned>>);

#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// Calls that it still meets; `None` is all.
    left: Option<usize>,
    /// It meets one call in so many.
    every: usize,
    seen: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, action: &str, fault: Fault, left: Option<usize>, every: usize) {
        let planned = Planned {
            fault,
            left,
            every: every.max(1),
            seen: 0,
        };
        self.0.entry(action.to_owned()).or_default().push(planned);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that the next call of this action meets: the oldest whose turn it is.
    pub(crate) fn take(&mut self, action: &str) -> Option<Fault> {
        for planned in self.0.get_mut(action)? {
            if planned.left == Some(0) {
                continue;
            }
            planned.seen += 1;
            if planned.seen % planned.every == 0 {
                planned.left = planned.left.map(|left| left - 1);
                return Some(planned.fault.clone());
            }
        }
        None
    }
}
