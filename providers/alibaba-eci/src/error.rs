//! Errors of the API as the caller of the provider sees them: the only conversion.

#[cfg(test)]
mod tests;

use std::time::Duration;

use imagecache_cloud_http::{CallError, CallProblem, CredentialError, Refusal, RefusalClass};
use imagecache_core::{Error, ErrorKind, chain};

use crate::{NAME, code};

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The call did not succeed.
    #[error(transparent)]
    Call(Box<CallError>),
    /// A success whose content is not as documented.
    #[error("{action} gave an answer of another form than documented, at line {line} column {column}")]
    Unexpected {
        /// The API action.
        action: &'static str,
        /// Where decoding ended.
        line: usize,
        /// Where decoding ended.
        column: usize,
    },
    /// The pages of a list do not end.
    #[error("{action} still has more pages after {pages}, or repeats one")]
    EndlessPages {
        /// The API action.
        action: &'static str,
        /// Pages read.
        pages: usize,
    },
    /// The service named a cache in a way that no cache is named.
    #[error("{action} gave `{id}` as the id of a cache")]
    BadId {
        /// The API action.
        action: &'static str,
        /// What it gave.
        id: String,
    },
}

impl ApiError {
    /// What the service refused, if it did.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call(error) => match &error.problem {
                CallProblem::Refused(refusal) | CallProblem::ClockSkew { refusal, .. } => Some(refusal),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the service refused with exactly this code.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == code)
    }

    /// Whose problem it is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => kind_of(&error.problem),
            Self::Unexpected { .. } | Self::EndlessPages { .. } | Self::BadId { .. } => ErrorKind::Internal,
        }
    }

    fn action(&self) -> &'static str {
        match self {
            Self::Call(error) => error.action,
            Self::Unexpected { action, .. } | Self::EndlessPages { action, .. } | Self::BadId { action, .. } => action,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let refusal = self.refusal()?;
        let table = || code::known(&refusal.code, &refusal.message).and_then(|meaning| meaning.wait);
        refusal.retry_after.or_else(table)
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        let message = match &error {
            ApiError::Call(call) => chain(&call.problem),
            other => other.to_string(),
        };
        let converted = Self::new(error.kind(), NAME, error.action(), message).with_retry_after(error.retry_after());
        match error.refusal().and_then(|refusal| refusal.request_id.clone()) {
            Some(id) => converted.with_request_id(id),
            None => converted,
        }
        .with_source(error)
    }
}

fn kind_of(problem: &CallProblem) -> ErrorKind {
    match problem {
        CallProblem::Credential(CredentialError::Unavailable { .. }) => ErrorKind::Unavailable,
        CallProblem::Credential(_) | CallProblem::ClockSkew { .. } => ErrorKind::Unauthenticated,
        CallProblem::Request(_) => ErrorKind::Internal,
        CallProblem::NotSent { .. } | CallProblem::NoAnswer { .. } => ErrorKind::Unavailable,
        CallProblem::Refused(refusal) => kind_of_refusal(refusal),
    }
}

fn kind_of_refusal(refusal: &Refusal) -> ErrorKind {
    if let Some(meaning) = code::known(&refusal.code, &refusal.message) {
        return meaning.kind;
    }
    match refusal.class {
        RefusalClass::Throttled => ErrorKind::RateLimited,
        // What answers is not the service: a proxy, a page that wants a login. It goes away.
        RefusalClass::Unavailable | RefusalClass::Undecodable | RefusalClass::NonceUsed => ErrorKind::Unavailable,
        RefusalClass::Conflict => ErrorKind::Conflict,
        RefusalClass::Credential | RefusalClass::ClockSkew => ErrorKind::Unauthenticated,
        RefusalClass::Final => ErrorKind::Internal,
    }
}
