//! What arrives at the gateway and what leaves it.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;
use serde_json::{Map, Value, json};

use crate::cloud::{Received, Refusal, Reply};

/// How long to wait, in milliseconds.
const RETRY_AFTER: &str = "x-acs-retry-after";

/// Query pairs, decoded, in the order of arrival; none when the query does not decode.
pub(crate) fn query(request: &Received) -> Option<Vec<(String, String)>> {
    decode_form(request.query.as_bytes())
}

/// A value of the query.
pub(crate) fn query_value(request: &Received, name: &str) -> Option<String> {
    let mut pairs = query(request).into_iter().flatten();
    pairs.find(|(found, _)| found == name).map(|(_, value)| value)
}

/// The operation: the header of the current style, or the parameter of the older one.
pub(crate) fn action(request: &Received) -> Option<String> {
    let header = request.header("x-acs-action").map(str::to_owned);
    header.or_else(|| query_value(request, "Action"))
}

/// The version of the API, from the same places.
pub(crate) fn version(request: &Received) -> Option<String> {
    let header = request.header("x-acs-version").map(str::to_owned);
    header.or_else(|| query_value(request, "Version"))
}

/// All parameters, of the query and of a form body.
pub(crate) fn parameters(request: &Received) -> Result<BTreeMap<String, String>, Refusal> {
    let malformed = || Refusal::new(400, "InvalidParameter", "the parameters cannot be decoded");
    let mut all = query(request).ok_or_else(malformed)?;
    let form = request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if form {
        all.extend(decode_form(&request.body).ok_or_else(malformed)?);
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
