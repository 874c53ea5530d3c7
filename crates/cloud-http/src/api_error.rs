//! Errors of an API as the caller of the provider sees them: the only conversion.

#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use imagecache_core::{Error, ErrorKind, chain};
use serde::de::DeserializeOwned;

use crate::{Answer, CallError, CallProblem, CredentialError, Meaning, Refusal, RefusalClass};

/// A cloud as its errors show it.
pub trait Vendor: fmt::Debug + Send + Sync + 'static {
    /// Name of the provider.
    const NAME: &'static str;

    /// What `code` with its `message` means; `None` for a code that we do not know.
    fn meaning(code: &str, message: &str) -> Option<Meaning>;
}

/// What can go wrong with a call of the cloud `V`.
#[derive(Debug)]
pub struct ApiError<V> {
    problem: ApiProblem,
    vendor: PhantomData<V>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
enum ApiProblem {
    /// The call did not succeed.
    #[error(transparent)]
    Call(Box<CallError>),
    /// A success whose content is not as documented.
    #[error("{action} gave an answer of another form than documented, at line {line} column {column}")]
    Unexpected {
        action: &'static str,
        /// Where decoding ended.
        line: usize,
        column: usize,
    },
    /// The pages of a list do not end.
    #[error("{action} still has more pages after {pages}, or repeats one")]
    EndlessPages { action: &'static str, pages: usize },
    /// The service named a cache in a way that no cache is named.
    #[error("{action} gave `{id}` as the id of a cache")]
    BadId { action: &'static str, id: String },
}

impl<V> fmt::Display for ApiError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl<V: Vendor> std::error::Error for ApiError<V> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

impl<V: Vendor> ApiError<V> {
    /// For a list whose pages do not end.
    pub fn endless_pages(action: &'static str, pages: usize) -> Self {
        ApiProblem::EndlessPages { action, pages }.into()
    }

    /// For a cache that is named in a way that no cache is named.
    pub fn bad_id(action: &'static str, id: &str) -> Self {
        let id = id.to_owned();
        ApiProblem::BadId { action, id }.into()
    }

    /// What the service refused, if it did.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.problem {
            ApiProblem::Call(error) => match &error.problem {
                CallProblem::Refused(refusal) | CallProblem::ClockSkew { refusal, .. } => Some(refusal),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the service refused with exactly this code.
    pub fn is(&self, code: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == code)
    }

    /// Whose problem it is.
    pub fn kind(&self) -> ErrorKind {
        match &self.problem {
            ApiProblem::Call(error) => kind_of::<V>(&error.problem),
            _ => ErrorKind::Internal,
        }
    }

    /// Whether it is certain that the call did nothing. A code that we do not know may stand for half of the work done.
    pub fn did_nothing(&self) -> bool {
        let ApiProblem::Call(error) = &self.problem else {
            return false;
        };
        match &error.problem {
            CallProblem::Credential(_)
            | CallProblem::Request(_)
            | CallProblem::NotSent { .. }
            | CallProblem::ClockSkew { .. } => true,
            CallProblem::NoAnswer { .. } => false,
            CallProblem::Refused(refusal) => match refusal.class {
                RefusalClass::Unavailable | RefusalClass::Undecodable => false,
                RefusalClass::Final => V::meaning(&refusal.code, &refusal.message).is_some(),
                _ => true,
            },
        }
    }

    fn action(&self) -> &'static str {
        match &self.problem {
            ApiProblem::Call(error) => error.action,
            ApiProblem::Unexpected { action, .. }
            | ApiProblem::EndlessPages { action, .. }
            | ApiProblem::BadId { action, .. } => action,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let refusal = self.refusal()?;
        let table = || V::meaning(&refusal.code, &refusal.message).and_then(|meaning| meaning.wait);
        refusal.retry_after.or_else(table)
    }
}

impl<V> From<ApiProblem> for ApiError<V> {
    fn from(problem: ApiProblem) -> Self {
        Self {
            problem,
            vendor: PhantomData,
        }
    }
}

impl<V> From<CallError> for ApiError<V> {
    fn from(error: CallError) -> Self {
        ApiProblem::Call(Box::new(error)).into()
    }
}

impl<V: Vendor> From<ApiError<V>> for Error {
    fn from(error: ApiError<V>) -> Self {
        let message = match &error.problem {
            ApiProblem::Call(call) => chain(&call.problem),
            other => other.to_string(),
        };
        let converted = Self::new(error.kind(), V::NAME, error.action(), message).with_retry_after(error.retry_after());
        match error.refusal().and_then(|refusal| refusal.request_id.clone()) {
            Some(id) => converted.with_request_id(id),
            None => converted,
        }
        .with_source(error)
    }
}

/// What an answer to `action` holds.
///
/// # Errors
///
/// `Unexpected`, with the place: the parser's own text repeats values, and some answers hold secrets.
pub fn decode<T: DeserializeOwned, V>(action: &'static str, answer: &Answer) -> Result<T, ApiError<V>> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ApiProblem::Unexpected { action, line, column }.into()
    })
}

fn kind_of<V: Vendor>(problem: &CallProblem) -> ErrorKind {
    match problem {
        CallProblem::Credential(CredentialError::Unavailable { .. }) => ErrorKind::Unavailable,
        CallProblem::Credential(_) | CallProblem::ClockSkew { .. } => ErrorKind::Unauthenticated,
        CallProblem::Request(_) => ErrorKind::Internal,
        CallProblem::NotSent { .. } | CallProblem::NoAnswer { .. } => ErrorKind::Unavailable,
        CallProblem::Refused(refusal) => kind_of_refusal::<V>(refusal),
    }
}

fn kind_of_refusal<V: Vendor>(refusal: &Refusal) -> ErrorKind {
    if let Some(meaning) = V::meaning(&refusal.code, &refusal.message) {
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
