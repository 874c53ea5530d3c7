//! Choosing the form of an answer from the `Accept` header, and writing it.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde::Serialize;
use serde_json::Value;

use crate::status::ApiError;

/// Body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    Table,
    /// Only the metadata.
    Partial,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
}

/// The form a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) view: View,
    pub(crate) encoding: Encoding,
}

/// The first media type of `accept` that can be served.
pub(crate) fn form(accept: &str) -> Result<Form, ApiError> {
    if accept.trim().is_empty() {
        return Ok(Form {
            view: View::Object,
            encoding: Encoding::Json,
        });
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let encoding = match parts.next().unwrap_or("") {
            "application/json" | "*/*" | "application/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            _ => continue,
        };
        let (mut kind, mut version, mut group) = ("", "", "");
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => kind = value,
                Some(("v", value)) => version = value,
                Some(("g", value)) => group = value,
                _ => {}
            }
        }
        let meta = group == "meta.k8s.io" && version == "v1";
        let view = match kind {
            "" => View::Object,
            "Table" if meta => View::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" if meta => View::Partial,
            _ => continue,
        };
        return Ok(Form { view, encoding });
    }
    Err(ApiError::not_acceptable())
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    respond(status, "application/json", full(value.to_string()))
}

pub(crate) fn encoded(status: StatusCode, encoding: Encoding, value: &impl Serialize) -> Response<Body> {
    match encoding {
        Encoding::Json => match serde_json::to_vec(value) {
            Ok(bytes) => respond(status, "application/json", full(bytes)),
            Err(e) => error(&ApiError::internal(format!("cannot write JSON: {e}"))),
        },
        Encoding::Yaml => match serde_yaml_ng::to_string(value) {
            Ok(text) => respond(status, "application/yaml", full(text)),
            Err(e) => error(&ApiError::internal(format!("cannot write YAML: {e}"))),
        },
    }
}

pub(crate) fn error(error: &ApiError) -> Response<Body> {
    json(error.code, &error.to_value())
}

/// Adds one `Warning` header per text, shown by `kubectl`.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
