//! The one error type that crosses crate borders: whose problem it is, and whether time alone can fix it.

use std::fmt;
use std::time::Duration;

/// Any error that can travel between threads, kept as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, from the reader's point of view. A closed set: it is a metric label and a condition reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The request can never work as written; the user must change it.
    InvalidSpec,
    /// Something that the request names does not exist: an image, a secret.
    NotFound,
    /// Credentials are missing, wrong or expired.
    Unauthenticated,
    /// Credentials are right but do not allow this.
    PermissionDenied,
    /// A limit of the account or of the disk is reached; somebody has to make room.
    QuotaExceeded,
    /// Too many requests; waiting helps.
    RateLimited,
    /// Somebody else is changing the same thing; trying again helps.
    Conflict,
    /// This provider cannot honour the request.
    Unsupported,
    /// The other side is down or unreachable; trying again helps.
    Unavailable,
    /// Our bug, or an answer that cannot be true.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 10] = [
        Self::InvalidSpec,
        Self::NotFound,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::QuotaExceeded,
        Self::RateLimited,
        Self::Conflict,
        Self::Unsupported,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The stable name, used as metric label and in persisted records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpec => "invalid_spec",
            Self::NotFound => "not_found",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::QuotaExceeded => "quota_exceeded",
            Self::RateLimited => "rate_limited",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The CamelCase twin of [`as_str`](Self::as_str), used as condition reason and event reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InvalidSpec => "InvalidSpec",
            Self::NotFound => "NotFound",
            Self::Unauthenticated => "Unauthenticated",
            Self::PermissionDenied => "PermissionDenied",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::RateLimited => "RateLimited",
            Self::Conflict => "Conflict",
            Self::Unsupported => "Unsupported",
            Self::Unavailable => "Unavailable",
            Self::Internal => "Internal",
        }
    }

    /// Whether doing nothing but waiting can fix it.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Conflict | Self::Unavailable)
    }
}

impl std::str::FromStr for ErrorKind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("unknown error kind `{text}`"))
    }
}

impl serde::Serialize for ErrorKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for ErrorKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A failed operation of a provider.
///
/// The message names the thing, starts in lower case, has no full stop and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{provider}.{operation}: {message} ({})", kind.as_str())]
pub struct Error {
    kind: ErrorKind,
    retry_after: Option<Duration>,
    provider: &'static str,
    operation: &'static str,
    message: String,
    request_id: Option<String>,
    #[source]
    source: Option<BoxError>,
}

impl Error {
    /// A new error of `provider` while doing `operation`.
    pub fn new(kind: ErrorKind, provider: &'static str, operation: &'static str, message: impl fmt::Display) -> Self {
        Self {
            kind,
            retry_after: None,
            provider,
            operation,
            message: message.to_string(),
            request_id: None,
            source: None,
        }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Keeps how long the other side asked us to wait; set only when it said so.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// Keeps the request id that the vendor's support will ask for.
    #[must_use]
    pub fn with_request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Whose problem it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How long the other side asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The message without provider and operation, as shown to users.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The vendor's request id.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// An error and its causes in one line, joined by colons; a cause that the text already says is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    with_causes(error.to_string(), error)
}

/// As [`chain`], with `message` in the place of the error's own text.
pub fn with_causes(message: String, error: &dyn std::error::Error) -> String {
    let mut text = message;
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_twins() {
        for kind in ErrorKind::ALL {
            let joined = kind.as_str().replace('_', "");
            assert_eq!(joined, kind.reason().to_ascii_lowercase(), "{kind:?}");
            assert_eq!(kind.as_str().parse::<ErrorKind>(), Ok(kind));
        }
    }

    #[test]
    fn message_has_provider_operation_and_kind() {
        let error = Error::new(ErrorKind::NotFound, "local", "ensure", "image `x` does not exist");
        assert_eq!(error.to_string(), "local.ensure: image `x` does not exist (not_found)");
    }
}
