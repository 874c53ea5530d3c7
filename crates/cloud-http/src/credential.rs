//! A credential and where it comes from.

use std::fmt;

use async_trait::async_trait;
use imagecache_core::{BoxError, Secret};
use jiff::Timestamp;

use crate::{CallError, CallProblem, RefusalClass};

/// An access key, long-lived or temporary.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The key's id; no secret, but no log needs it either.
    pub id: String,
    /// The key's secret.
    pub secret: Secret<String>,
    /// Token of a temporary credential.
    pub token: Option<Secret<String>>,
    /// When a temporary credential ends.
    pub expires_at: Option<Timestamp>,
}

/// One place where a credential may come from: a link of a chain.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync + 'static {
    /// What users call it: "environment", "profile file `/root/.aliyun/config.json`".
    fn name(&self) -> String;

    /// The credential; `None` when nothing here is configured, so the next link is asked.
    ///
    /// # Errors
    ///
    /// When something is configured and does not work. The chain stops there: falling through to another identity in
    /// silence would be worse.
    async fn load(&self) -> Result<Option<Credential>, CredentialError>;
}

/// No credential to sign with. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// No link of the chain is configured.
    #[error("no credential found, looked in: {0}")]
    NotFound(String),
    /// A configured link does not work, and waiting does not mend it.
    #[error("credential from {name}: {message}")]
    Invalid {
        /// Name of the source.
        name: String,
        /// What is wrong and what to do.
        message: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// A configured link does not answer; waiting may help.
    #[error("credential from {name}: {message}")]
    Unavailable {
        /// Name of the source.
        name: String,
        /// What does not answer.
        message: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
}

impl CredentialError {
    /// A configured source that does not work and will not by waiting.
    pub fn invalid(name: &str, message: impl Into<String>) -> Self {
        Self::Invalid {
            name: name.to_owned(),
            message: message.into(),
            source: None,
        }
    }

    /// A source that fails because of `cause`, which `passes` or stays.
    pub(crate) fn caused_by(cause: impl Into<BoxError>, name: &str, message: String, passes: bool) -> Self {
        let (name, source) = (name.to_owned(), Some(cause.into()));
        if passes {
            Self::Unavailable { name, message, source }
        } else {
            Self::Invalid { name, message, source }
        }
    }

    /// What a failed call to a service that hands out credentials means for the source `name`.
    pub fn of_call(error: CallError, name: &str, message: impl Into<String>) -> Self {
        let passes = match error.problem {
            // The credential that it was to be signed with: that error says all there is to say.
            CallProblem::Credential(error) => return error,
            CallProblem::Request(_) | CallProblem::ClockSkew { .. } => false,
            CallProblem::NotSent { .. } | CallProblem::NoAnswer { .. } => true,
            CallProblem::Refused(ref refusal) => match refusal.class {
                RefusalClass::Final | RefusalClass::Credential | RefusalClass::ClockSkew => false,
                RefusalClass::Throttled
                | RefusalClass::Unavailable
                | RefusalClass::Conflict
                | RefusalClass::NonceUsed
                | RefusalClass::Undecodable => true,
            },
        };
        Self::caused_by(error, name, message.into(), passes)
    }
}
