//! One request, taken apart: method, path segments, query, headers and body.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;

use crate::protobuf;
use crate::status::ApiError;

/// Largest body accepted, as in Kubernetes.
pub(crate) const BODY_BYTES: usize = 3 * 1024 * 1024;

/// A request with its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) segments: Vec<String>,
    query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What to do with fields the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl Call {
    pub(crate) fn new(parts: http::request::Parts, body: Bytes) -> Self {
        let segments = parts
            .uri
            .path()
            .split('/')
            .filter(|s| !s.is_empty())
            .map(percent_decode)
            .collect();
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes())
            .into_owned()
            .collect();
        Self {
            method: parts.method,
            segments,
            query,
            headers: parts.headers,
            body,
        }
    }

    /// A query parameter; absent and empty are the same.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(k, v)| k == name && !v.is_empty())
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()) {
            None | Some("false" | "False" | "0" | "f" | "F" | "FALSE") => Ok(false),
            // A bare `?watch` counts as set, as in Kubernetes.
            Some(_) => Ok(true),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.param(name) else { return Ok(None) };
        let number = text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("invalid {name} {text:?}: not a number")));
        number.map(Some)
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The media type of the body, without parameters.
    pub(crate) fn content_type(&self) -> &str {
        self.header(header::CONTENT_TYPE).split(';').next().unwrap_or("").trim()
    }

    pub(crate) fn is_dry_run(&self) -> Result<bool, ApiError> {
        match self.param("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!(
                "invalid dryRun {other:?}: only \"All\" is supported"
            ))),
        }
    }

    pub(crate) fn field_validation(&self) -> Result<FieldValidation, ApiError> {
        match self.param("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(ApiError::bad_request(format!("invalid fieldValidation {other:?}"))),
        }
    }

    /// Who writes: `fieldManager`, or the program named by the user agent.
    pub(crate) fn manager(&self) -> &str {
        let agent = self.header(header::USER_AGENT).split('/').next().unwrap_or("");
        self.param("fieldManager")
            .unwrap_or(if agent.is_empty() { "unknown" } else { agent })
    }

    /// The body as an object, from JSON or YAML.
    pub(crate) fn object(&self) -> Result<Value, ApiError> {
        let value = match self.content_type() {
            "" | "application/json" => parse_json(&self.body)?,
            "application/yaml" | "application/x-yaml" | "text/yaml" => parse_yaml(&self.body)?,
            protobuf::MEDIA_TYPE => protobuf::decode(&self.body)?,
            _ => return Err(ApiError::unsupported_media_type("application/json, application/yaml")),
        };
        require_map(value)
    }
}

pub(crate) fn parse_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::bad_request(format!("the object provided is unrecognized: {e}")))
}

pub(crate) fn parse_yaml(body: &[u8]) -> Result<Value, ApiError> {
    serde_yaml_ng::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("the object provided is unrecognized: {e}")))
}

pub(crate) fn require_map(value: Value) -> Result<Value, ApiError> {
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::bad_request("the object provided is not a map"))
    }
}

fn percent_decode(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let decoded = (byte == b'%').then(|| rest.as_slice_hex()).flatten();
        match decoded {
            Some(value) => {
                out.push(value);
                rest.next();
                rest.next();
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Two hexadecimal digits ahead, without taking them.
trait Hex {
    fn as_slice_hex(&self) -> Option<u8>;
}

impl Hex for std::str::Bytes<'_> {
    fn as_slice_hex(&self) -> Option<u8> {
        let mut ahead = self.clone();
        let digit = |b: Option<u8>| {
            b.and_then(|b| char::from(b).to_digit(16))
                .and_then(|d| u8::try_from(d).ok())
        };
        Some(digit(ahead.next())? << 4 | digit(ahead.next())?)
    }
}
