//! What arrives at the gateway and what leaves it.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode;
use serde_json::{Map, Value, json};

use crate::cloud::Reply;

/// How long to wait, in milliseconds.
const RETRY_AFTER: &str = "x-acs-retry-after";

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

/// An answer with a JSON body.
pub(crate) fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, "application/json;charset=utf-8", body.to_string())
}

/// The fields of a success, with its request id.
pub(crate) fn success(mut fields: Map<String, Value>, request_id: String) -> Reply {
    fields.insert("RequestId".to_owned(), Value::String(request_id));
    json_reply(200, &Value::Object(fields))
}

/// The answer to a call that is turned down.
pub(crate) fn refusal(refusal: &Refusal, request_id: &str, host: &str) -> Reply {
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
    let mut reply = json_reply(refusal.status, &body);
    let wait = refusal.retry_after_ms.map(|millis| (RETRY_AFTER, millis.to_string()));
    reply.headers.extend(wait);
    reply
}
