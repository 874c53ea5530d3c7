//! A request as it came in, a refusal, and an answer on its way out.

use std::fmt;

/// A request as it came in, before anybody believed it.
#[derive(Clone)]
pub struct Received {
    /// `POST`, `GET`.
    pub method: String,
    /// Path, as written.
    pub path: String,
    /// Query, as written, without the question mark.
    pub query: String,
    /// Header names in lower case with their values, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

// Parameters and headers carry secrets.
impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Received({} {})", self.method, self.path)
    }
}

impl Received {
    /// Takes a request apart.
    pub fn new(method: &str, path: &str, query: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body,
        }
    }

    pub(crate) fn from_wiremock(request: &wiremock::Request) -> Self {
        let headers = request.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        let query = request.url.query().unwrap_or_default();
        let body = request.body.clone();
        Self::new(
            request.method.as_str(),
            request.url.path(),
            query,
            headers.collect(),
            body,
        )
    }

    /// The one value of a header; `None` when it is absent or there is more than one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// A call that is turned down.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The vendor's code.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// More for people, from gateways that give it; can repeat what was sent, secrets too.
    pub detail: Option<String>,
    /// How long to wait, from gateways that say so.
    pub retry_after_ms: Option<u64>,
}

impl fmt::Debug for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Refusal({} {}: {})", self.status, self.code, self.message)
    }
}

impl Refusal {
    /// A plain refusal.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            detail: None,
            retry_after_ms: None,
        }
    }
}

/// What becomes of an answer on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    /// Half of the body, then the connection ends.
    Cut,
    /// Nothing, and the connection stays open.
    Never,
}

/// An answer, ready to be sent.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) delivery: Delivery,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    /// An answer that never comes.
    pub(crate) fn never() -> Self {
        let mut reply = Self::new(200, "application/json", "{}");
        reply.delivery = Delivery::Never;
        reply
    }
}
