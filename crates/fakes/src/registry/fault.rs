//! What a registry does wrong, and to which requests.

use bytes::Bytes;

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Text that the path of a request must contain.
    pub(crate) path: String,
    /// Requests that it still applies to; `None` is all.
    pub(crate) times: Option<u32>,
    pub(crate) kind: FaultKind,
}

/// Ways to misbehave.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// Answers with this status.
    Status(u16),
    /// Answers 429 with this `Retry-After`.
    RateLimit(String),
    /// Changes the last byte of the body.
    WrongBytes,
    /// Sends so many bytes of the body, then closes the connection.
    TruncateAt(usize),
    /// Sends so many bytes of the body, then nothing more.
    StallAt(usize),
    /// Accepts the request and never answers.
    NoAnswer,
    /// Redirects to the same path below this URL.
    RedirectTo(String),
    /// Redirects to itself for ever.
    RedirectLoop,
    /// Answers with this media type and body.
    Replace(String, Bytes),
    /// Answers 200 and as many zero bytes, in chunks of unknown total length.
    Endless(u64),
    /// Sends the whole body whatever range is asked for.
    IgnoreRange,
    /// Sends so many bytes a second.
    Slow(usize),
    /// Invalidates all tokens before looking at the request.
    ExpireTokens,
    /// Names a wrong digest in `Docker-Content-Digest`.
    WrongDigestHeader,
}

impl Fault {
    /// A fault for every request whose path contains `path`.
    pub fn on(path: &str, kind: FaultKind) -> Self {
        Self {
            path: path.to_owned(),
            times: None,
            kind,
        }
    }

    /// Only for the next `times` such requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// Takes the first fault that fits `path` and uses it up once.
pub(crate) fn take(faults: &mut [Fault], path: &str) -> Option<FaultKind> {
    let position = faults
        .iter()
        .position(|fault| path.contains(&fault.path) && fault.times != Some(0))?;
    let fault = faults.get_mut(position)?;
    if let Some(times) = &mut fault.times {
        *times -= 1;
    }
    Some(fault.kind.clone())
}
