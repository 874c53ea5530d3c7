//! What AWS answered when it did not do as asked, and the table that says what to do about it.

use std::error::Error as _;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ebs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;
use imagecache_blocks::Error;
use imagecache_core::{ErrorKind, chain};
use serde::Deserialize;

/// Why one attempt of a call did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) action: Action,
    pub(crate) code: String,
    pub(crate) reason: Option<String>,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Try again after a while.
    Again,
    /// The same, and send less from now on.
    SlowDown,
    /// A snapshot is not known everywhere as soon as it was started; later it does not exist.
    AgainWhileFresh,
    /// It would be answered the same.
    Fail(ErrorKind),
}

/// One row a cause: code, reason (`*`: any), action. The first match wins. Codes and reasons are those of the `ebs` service
/// model 2019-11-02, of EC2's error page and of the throttling and timeout codes that all AWS SDKs know; what is not here is
/// judged by its HTTP status. A validation that fails is this program's mistake or the snapshot's state, never the spec's.
#[rustfmt::skip]
const ACTIONS: &[(&str, &str, Action)] = &[
    ("RequestThrottledException", "*", Action::SlowDown),
    ("RequestThrottled", "*", Action::SlowDown),
    ("ThrottlingException", "*", Action::SlowDown),
    ("ThrottledException", "*", Action::SlowDown),
    ("Throttling", "*", Action::SlowDown),
    ("TooManyRequestsException", "*", Action::SlowDown),
    ("RequestLimitExceeded", "*", Action::SlowDown),
    ("SlowDown", "*", Action::SlowDown),
    ("EC2ThrottledException", "*", Action::SlowDown),
    ("BandwidthLimitExceeded", "*", Action::SlowDown),
    ("PriorRequestNotComplete", "*", Action::SlowDown),
    ("LimitExceededException", "*", Action::SlowDown),
    ("InternalServerException", "*", Action::Again),
    ("InternalError", "*", Action::Again),
    ("RequestTimeout", "*", Action::Again),
    ("RequestTimeoutException", "*", Action::Again),
    (VALIDATION, "WRITE_REQUEST_TIMEOUT", Action::Again),
    (VALIDATION, "CONFLICTING_BLOCK_UPDATE", Action::Again),
    (VALIDATION, "*", Action::Fail(ErrorKind::Internal)),
    ("ResourceNotFoundException", "*", Action::AgainWhileFresh),
    ("InvalidSnapshot.NotFound", "*", Action::AgainWhileFresh),
    ("AccessDeniedException", "*", Action::Fail(ErrorKind::PermissionDenied)),
    ("UnauthorizedOperation", "*", Action::Fail(ErrorKind::PermissionDenied)),
    ("AuthFailure", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("ExpiredTokenException", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("ExpiredToken", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("RequestExpired", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("UnrecognizedClientException", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("InvalidSignatureException", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("SignatureDoesNotMatch", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("IncompleteSignature", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("IncompleteSignatureException", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("MissingAuthenticationToken", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("MissingAuthenticationTokenException", "*", Action::Fail(ErrorKind::Unauthenticated)),
    ("ServiceQuotaExceededException", "*", Action::Fail(ErrorKind::QuotaExceeded)),
    (PENDING_LIMIT, "*", Action::Fail(ErrorKind::QuotaExceeded)),
    ("ConflictException", "*", Action::Fail(ErrorKind::Conflict)),
    ("InvalidSnapshot.InUse", "*", Action::Fail(ErrorKind::Conflict)),
];

const VALIDATION: &str = "ValidationException";
const PENDING_LIMIT: &str = "ConcurrentLimitExceededException";
const NO_SUCH_SNAPSHOT: &str = "SNAPSHOT_NOT_FOUND";
const WRONG_BYTES: &str = "wrong bytes";

fn action_of(status: u16, code: &str, reason: Option<&str>) -> Action {
    let row = ACTIONS
        .iter()
        .find(|(known, wanted, _)| *known == code && (*wanted == "*" || Some(*wanted) == reason));
    match (row, status) {
        (Some((_, _, action)), _) => *action,
        (None, 404) => Action::AgainWhileFresh,
        (None, 408) => Action::Again,
        (None, 429) => Action::SlowDown,
        (None, 500..) => Action::Again,
        (None, 401) => Action::Fail(ErrorKind::Unauthenticated),
        (None, 403) => Action::Fail(ErrorKind::PermissionDenied),
        (None, _) => Action::Fail(ErrorKind::Internal),
    }
}

/// The part of an error's body that the SDK gives no common access to.
#[derive(Deserialize)]
struct Body {
    #[serde(alias = "reason", rename = "Reason")]
    reason: Option<String>,
}

impl Trouble {
    /// A refusal with this status, code and message.
    pub(crate) fn refused(
        status: u16,
        code: &str,
        reason: Option<String>,
        message: &str,
        request_id: Option<String>,
    ) -> Self {
        Self {
            action: action_of(status, code, reason.as_deref()),
            code: code.to_owned(),
            reason,
            message: message.to_owned(),
            request_id,
        }
    }

    /// Nothing that can be read was answered; the same call may work.
    pub(crate) fn unanswered(message: impl Into<String>) -> Self {
        Self {
            action: Action::Again,
            code: "no answer".to_owned(),
            reason: None,
            message: message.into(),
            request_id: None,
        }
    }

    /// Block `index` arrived with other bytes than its checksum says; the next answer may be right.
    pub(crate) fn wrong_bytes(index: u64) -> Self {
        Self {
            code: WRONG_BYTES.to_owned(),
            ..Self::unanswered(format!("block {index} does not have the checksum that came with it"))
        }
    }

    /// What is answered is nothing that this program can work with.
    pub(crate) fn unsupported(message: String) -> Self {
        Self {
            action: Action::Fail(ErrorKind::Unsupported),
            ..Self::unanswered(message)
        }
    }

    /// Nothing can be sent with this configuration.
    pub(crate) fn configuration(error: &Error) -> Self {
        Self {
            action: Action::Fail(error.kind()),
            code: "it is not configured".to_owned(),
            ..Self::unanswered(chain(error))
        }
    }

    /// There are no credentials to sign with.
    pub(crate) fn credentials(error: &CredentialsError) -> Self {
        let action = match error {
            CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => Action::Again,
            _ => Action::Fail(ErrorKind::Unauthenticated),
        };
        Self {
            action,
            code: "no credentials".to_owned(),
            reason: None,
            message: chain(error),
            request_id: None,
        }
    }

    /// Whether the service said that there is no such snapshot.
    pub(crate) fn is_gone(&self) -> bool {
        // A missing grant or dependency of a snapshot has the same code with another reason.
        let about_it = self.reason.as_deref().is_none_or(|reason| reason == NO_SUCH_SNAPSHOT);
        self.action == Action::AgainWhileFresh && about_it
    }

    /// Whether the service found the call wrong: its parameters, or the state of the snapshot that it is for.
    pub(crate) fn is_validation(&self) -> bool {
        self.code == VALIDATION && matches!(self.action, Action::Fail(_))
    }

    /// Whether a snapshot cannot be started on top of its parent: deleted, or not encrypted where the account wants encryption.
    pub(crate) fn is_about_the_parent(&self) -> bool {
        self.is_validation() || self.action == Action::AgainWhileFresh
    }

    /// Whether too many snapshots of the account are pending.
    pub(crate) fn is_pending_limit(&self) -> bool {
        self.code == PENDING_LIMIT
    }

    /// Whether it says that a block which is read is not there, or not what it should be.
    pub(crate) fn is_damage(&self) -> bool {
        self.code == WRONG_BYTES || self.is_validation() || self.action == Action::AgainWhileFresh
    }

    /// The error for whoever asked. `action` is the IAM action, `what` the thing it was for.
    pub(crate) fn into_error(self, action: &str, what: &str) -> Error {
        let kind = match self.action {
            Action::Fail(kind) => kind,
            Action::Again => ErrorKind::Unavailable,
            Action::SlowDown => ErrorKind::RateLimited,
            Action::AgainWhileFresh => ErrorKind::NotFound,
        };
        let reason = self.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let request = self.request_id.map(|id| format!(", request {id}")).unwrap_or_default();
        let advice = match kind {
            ErrorKind::PermissionDenied => format!("; allow the action {action} in the IAM policy"),
            ErrorKind::Unauthenticated => "; give this program AWS credentials that are valid".to_owned(),
            ErrorKind::QuotaExceeded => "; it is tried again later, or ask AWS for a higher quota".to_owned(),
            _ => String::new(),
        };
        let said = if self.message.is_empty() {
            String::new()
        } else {
            format!(": {}", self.message)
        };
        Error::Service {
            kind,
            message: format!(
                "{action} for {what} failed: {}{reason}{said}{request}{advice}",
                self.code
            ),
        }
    }
}

impl<E> From<SdkError<E, Response>> for Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E, Response>) -> Self {
        if let SdkError::ServiceError(refusal) = &error {
            let raw = refusal.raw();
            let body: Option<Body> = raw.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
            let request_id = raw.headers().get("x-amzn-requestid").map(str::to_owned);
            let meta = refusal.err().meta();
            let (code, message) = (meta.code().unwrap_or("unknown"), meta.message().unwrap_or_default());
            return Self::refused(
                raw.status().as_u16(),
                code,
                body.and_then(|body| body.reason),
                message,
                request_id,
            );
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(credentials) = cause.downcast_ref::<CredentialsError>() {
                return Self::credentials(credentials);
            }
            source = cause.source();
        }
        match error {
            SdkError::ConstructionFailure(_) => Self {
                action: Action::Fail(ErrorKind::Internal),
                code: "the request cannot be made".to_owned(),
                ..Self::unanswered(chain(&error))
            },
            _ => Self::unanswered(chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_action() {
        use Action::{Again, AgainWhileFresh, Fail, SlowDown};
        for (status, code, reason, expected) in [
            (400, "RequestThrottledException", Some("ACCOUNT_THROTTLED"), SlowDown),
            (
                400,
                "RequestThrottledException",
                Some("RESOURCE_LEVEL_THROTTLE"),
                SlowDown,
            ),
            (400, "ThrottlingException", None, SlowDown),
            (503, "RequestLimitExceeded", None, SlowDown),
            (429, "Surprise", None, SlowDown),
            (400, "ThrottledException", None, SlowDown),
            (400, "TooManyRequestsException", None, SlowDown),
            (503, "SlowDown", None, SlowDown),
            (400, "RequestThrottled", None, SlowDown),
            (503, "EC2ThrottledException", None, SlowDown),
            (509, "BandwidthLimitExceeded", None, SlowDown),
            (400, "PriorRequestNotComplete", None, SlowDown),
            (400, "LimitExceededException", None, SlowDown),
            (400, "RequestTimeout", None, Again),
            (400, "RequestTimeoutException", None, Again),
            (408, "Surprise", None, Again),
            (403, "SignatureDoesNotMatch", None, Fail(ErrorKind::Unauthenticated)),
            (400, "RequestExpired", None, Fail(ErrorKind::Unauthenticated)),
            (400, "IncompleteSignature", None, Fail(ErrorKind::Unauthenticated)),
            (
                400,
                "IncompleteSignatureException",
                None,
                Fail(ErrorKind::Unauthenticated),
            ),
            (
                400,
                "MissingAuthenticationToken",
                None,
                Fail(ErrorKind::Unauthenticated),
            ),
            (
                403,
                "MissingAuthenticationTokenException",
                None,
                Fail(ErrorKind::Unauthenticated),
            ),
            (500, "InternalServerException", None, Again),
            (502, "unknown", None, Again),
            (503, "unknown", None, Again),
            (504, "unknown", None, Again),
            (400, "ValidationException", Some("WRITE_REQUEST_TIMEOUT"), Again),
            (400, "ValidationException", Some("CONFLICTING_BLOCK_UPDATE"), Again),
            (
                400,
                "ValidationException",
                Some("INVALID_BLOCK"),
                Fail(ErrorKind::Internal),
            ),
            (400, "ValidationException", None, Fail(ErrorKind::Internal)),
            (
                404,
                "ResourceNotFoundException",
                Some("SNAPSHOT_NOT_FOUND"),
                AgainWhileFresh,
            ),
            (
                404,
                "ResourceNotFoundException",
                Some("GRANT_NOT_FOUND"),
                AgainWhileFresh,
            ),
            (404, "ResourceNotFoundException", None, AgainWhileFresh),
            (404, "unknown", None, AgainWhileFresh),
            (400, "InvalidSnapshot.NotFound", None, AgainWhileFresh),
            (
                403,
                "AccessDeniedException",
                Some("UNAUTHORIZED_ACCOUNT"),
                Fail(ErrorKind::PermissionDenied),
            ),
            (
                403,
                "AccessDeniedException",
                Some("DEPENDENCY_ACCESS_DENIED"),
                Fail(ErrorKind::PermissionDenied),
            ),
            (403, "UnauthorizedOperation", None, Fail(ErrorKind::PermissionDenied)),
            (403, "Surprise", None, Fail(ErrorKind::PermissionDenied)),
            (403, "InvalidSignatureException", None, Fail(ErrorKind::Unauthenticated)),
            (
                402,
                "ServiceQuotaExceededException",
                Some("DEPENDENCY_SERVICE_QUOTA_EXCEEDED"),
                Fail(ErrorKind::QuotaExceeded),
            ),
            (
                400,
                "ConcurrentLimitExceededException",
                None,
                Fail(ErrorKind::QuotaExceeded),
            ),
            (409, "ConflictException", None, Fail(ErrorKind::Conflict)),
            (418, "Surprise", None, Fail(ErrorKind::Internal)),
        ] {
            assert_eq!(action_of(status, code, reason), expected, "{status} {code} {reason:?}");
        }
    }

    #[test]
    fn only_a_missing_snapshot_is_gone() {
        for (reason, gone) in [
            (None, true),
            (Some(NO_SUCH_SNAPSHOT), true),
            (Some("GRANT_NOT_FOUND"), false),
        ] {
            let trouble = Trouble::refused(404, "ResourceNotFoundException", reason.map(str::to_owned), "", None);
            assert_eq!(trouble.is_gone(), gone, "{reason:?}");
        }
    }

    #[test]
    fn a_missing_permission_is_named() {
        let trouble = Trouble::refused(403, "AccessDeniedException", None, "no", Some("r-1".to_owned()));
        let text = trouble
            .into_error("ebs:PutSnapshotBlock", "snapshot snap-1")
            .to_string();
        for part in ["ebs:PutSnapshotBlock", "snap-1", "r-1", "IAM policy"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
