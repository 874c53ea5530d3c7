//! One call of a signed API: what a cloud brings, and what can become of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use imagecache_core::BoxError;
use jiff::Timestamp;

use crate::{Credential, CredentialError};

/// How one cloud's calls become requests, and what its answers mean. Pure: no I/O, no clock, no randomness.
pub trait Protocol: fmt::Debug + Send + Sync + 'static {
    /// A call, before it is signed.
    type Call: Send + Sync;

    /// The API action, used in logs, metric labels, errors and for its rate.
    fn action(call: &Self::Call) -> &'static str;

    /// What happens when the call is sent twice.
    fn effect(call: &Self::Call) -> Effect;

    /// The signed request, complete with its absolute URL. Called once for every attempt.
    ///
    /// # Errors
    ///
    /// When no valid request can be made of the call; it is not tried again.
    fn request(&self, call: &Self::Call, signing: &Signing<'_>) -> Result<http::Request<Bytes>, BoxError>;

    /// Whether the answer is a success. Looks at the body too: some APIs refuse inside a 200.
    ///
    /// # Errors
    ///
    /// What the service refused, and its class. An answer that cannot be understood is [`RefusalClass::Undecodable`].
    fn check(&self, call: &Self::Call, answer: &Answer) -> Result<(), Refusal>;
}

/// What a signature is made with.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// Who signs.
    pub credential: &'a Credential,
    /// When, by the service's clock as far as it is known.
    pub at: Timestamp,
    /// 32 hexadecimal characters that no other attempt has.
    pub nonce: &'a str,
}

/// What happens when a call is sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads, or carries an idempotency token, or ends in the same state: sending it again does no harm.
    Repeatable,
    /// A second one would do it again: only a call that certainly had no effect is repeated.
    Once,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: http::StatusCode,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body, complete.
    pub body: Bytes,
}

/// A refusal by the service.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// What it means for trying again.
    pub class: RefusalClass,
    /// The vendor's code; the HTTP status where there was none.
    pub code: String,
    /// The vendor's message.
    pub message: String,
    /// What the vendor's support will ask for.
    pub request_id: Option<String>,
    /// How long the service asked to wait, by a header of its own; `Retry-After` is read by the client.
    pub retry_after: Option<Duration>,
}

/// What a refusal means for trying again; the rows of the retry table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalClass {
    /// Too many calls; nothing was done.
    Throttled,
    /// The service is in trouble (5xx); whether anything was done is unknown.
    Unavailable,
    /// Something else is going on with the same thing; nothing was done.
    Conflict,
    /// The nonce was used before; nothing was done, a new signature helps.
    NonceUsed,
    /// The time of the signature is too far from the service's clock; nothing was done.
    ClockSkew,
    /// The credential was rejected; nothing was done, a fresh credential may help once.
    Credential,
    /// The answer makes no sense; whether anything was done is unknown.
    Undecodable,
    /// Sending the same again gives the same answer.
    Final,
}

/// A call that did not succeed, after every attempt that made sense. Its texts hold no URL, header or secret.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", outcome(*attempts))]
pub struct CallError {
    /// The API action.
    pub action: &'static str,
    /// Attempts made.
    pub attempts: u32,
    /// What was wrong with the last one.
    #[source]
    pub problem: CallProblem,
}

/// What was wrong with an attempt.
#[derive(Debug, thiserror::Error)]
pub enum CallProblem {
    /// There is no credential to sign with.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No request could be made of the call.
    #[error("the request cannot be made")]
    Request(#[source] BoxError),
    /// The service was not reached; nothing was done.
    #[error("{host} cannot be reached")]
    NotSent {
        /// Whom we wanted to reach.
        host: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// No complete answer in time, or the connection broke; whether anything was done is unknown.
    #[error("{host} gave no complete answer")]
    NoAnswer {
        /// Who was asked.
        host: String,
        /// What happened.
        #[source]
        source: BoxError,
    },
    /// The service refused.
    #[error(transparent)]
    Refused(Refusal),
    /// The service refused because this machine's clock is wrong.
    #[error("this machine's clock is {} {host}'s; set it, with NTP for example", difference(*.behind))]
    ClockSkew {
        /// Whose clock it was compared with.
        host: String,
        /// How far the machine's clock is behind.
        behind: jiff::SignedDuration,
        /// The refusal itself.
        #[source]
        refusal: Refusal,
    },
}

/// "60 s behind" or "60 s ahead of".
fn difference(behind: jiff::SignedDuration) -> String {
    let seconds = behind.as_secs().unsigned_abs();
    let side = if behind.is_negative() { "ahead of" } else { "behind" };
    format!("{seconds} s {side}")
}

/// What became of a call after so many attempts.
fn outcome(attempts: u32) -> String {
    match attempts {
        0 => "was not sent".to_owned(),
        1 => "failed".to_owned(),
        more => format!("failed {more} times"),
    }
}

/// A header value that no log of an HTTP library shows.
///
/// # Errors
///
/// When no header can carry it.
pub fn sensitive_header(text: &str) -> Result<http::HeaderValue, BoxError> {
    let mut value = http::HeaderValue::from_str(text)
        .map_err(|_| "the credential holds characters that no HTTP header can carry")?;
    value.set_sensitive(true);
    Ok(value)
}
