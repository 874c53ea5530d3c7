//! What arrives at the gateway and what leaves it.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// A request as it came in, before anybody believed it.
#[derive(Clone)]
pub struct Received {
    /// `POST`, `GET`.
    pub method: String,
    /// Path, as written.
    pub path: String,
    /// Query pairs, decoded, in the order of arrival; none when the query does not decode.
    pub query: Option<Vec<(String, String)>>,
    /// Header names in lower case with their values, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

// Parameters and headers carry secrets.
impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Received({} {}, {:?})",
            self.method,
            self.path,
            self.action()
        )
    }
}

impl Received {
    /// Takes a request apart.
    pub fn new(method: &str, path: &str, raw_query: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: decode_form(raw_query.as_bytes()),
            headers,
            body,
        }
    }

    /// The one value of a header; `None` when it is absent or there is more than one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// A value of the query.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        let pairs = self.query.as_deref().unwrap_or_default();
        pairs
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The operation: the header of the current style, or the parameter of the older one.
    pub(crate) fn action(&self) -> Option<&str> {
        self.header("x-acs-action").or_else(|| self.query_value("Action"))
    }

    /// The version of the API, from the same places.
    pub(crate) fn version(&self) -> Option<&str> {
        self.header("x-acs-version").or_else(|| self.query_value("Version"))
    }

    /// All parameters, of the query and of a form body.
    pub(crate) fn parameters(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let malformed = || Refusal::new(400, "InvalidParameter", "the parameters cannot be decoded");
        let mut all = self.query.clone().ok_or_else(malformed)?;
        let form = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if form {
            all.extend(decode_form(&self.body).ok_or_else(malformed)?);
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in all {
            if parameters.insert(name.clone(), value).is_some() {
                let message = format!("the parameter {name} is given twice");
                return Err(Refusal::new(400, "InvalidParameter.Duplicate", message));
            }
        }
        Ok(parameters)
    }
}

/// `name=value&…` as browsers write it: plus is a space. `None` when it is not UTF-8.
fn decode_form(text: &[u8]) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decode_part(halves.next().unwrap_or_default())?;
        let value = decode_part(halves.next().unwrap_or_default())?;
        pairs.push((name, value));
    }
    Some(pairs)
}

fn decode_part(part: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = part
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced).decode_utf8().ok().map(|text| text.into_owned())
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
    /// More for people, where the gateway gives it; can repeat what was sent, secrets too.
    pub detail: Option<String>,
    /// Milliseconds of `x-acs-retry-after`.
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
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) delivery: Delivery,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            content_type,
            retry_after_ms: None,
            delivery: Delivery::Whole,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json;charset=utf-8", body.to_string())
    }

    /// The fields of a success, with its request id.
    pub(crate) fn success(mut fields: Map<String, Value>, request_id: String) -> Self {
        fields.insert("RequestId".to_owned(), Value::String(request_id));
        Self::json(200, &Value::Object(fields))
    }

    pub(crate) fn refusal(refusal: &Refusal, request_id: &str, host: &str) -> Self {
        let mut body = json!({
            "RequestId": request_id,
            "HostId": host,
            "Code": refusal.code,
            "Message": refusal.message,
            "Recommend": format!("https://troubleshoot.example.invalid/?q={}&requestId={request_id}", refusal.code),
        });
        if let (Some(detail), Some(fields)) = (&refusal.detail, body.as_object_mut()) {
            fields.insert("Detail".to_owned(), Value::String(detail.clone()));
        }
        let mut reply = Self::json(refusal.status, &body);
        reply.retry_after_ms = refusal.retry_after_ms;
        reply
    }
}

/// Ids, keys and tokens that nobody can guess, none of them twice.
#[derive(Debug)]
pub(crate) struct Mint {
    salt: u64,
    count: u64,
}

impl Default for Mint {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self {
            salt: RandomState::new().hash_one(std::process::id()),
            count: 0,
        }
    }
}

impl Mint {
    /// `length` hexadecimal characters, at most 64.
    pub(crate) fn hex(&mut self, length: usize) -> String {
        self.count += 1;
        let mut text = hex::encode(Sha256::digest(format!("{}/{}", self.salt, self.count)));
        text.truncate(length);
        text
    }

    /// A UUID as the gateway prints it.
    pub(crate) fn request_id(&mut self) -> String {
        let text = self.hex(32).to_uppercase();
        let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
        parts.map(|(from, to)| text.get(from..to).unwrap_or_default()).join("-")
    }
}
