//! Whether an answer is a success, and what a refusal says: JSON in two spellings, or XML.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::StatusCode;
use imagecache_cloud_http::{Answer, Meaning, Refusal, RefusalClass, text};
use serde_json::Value;

use crate::code;
use crate::params::{self, Parameters};

/// How long to wait, in milliseconds; read by the vendor's SDK and so perhaps sent.
const RETRY_AFTER_HEADER: &str = "x-acs-retry-after";
/// Where the gateway names the request when the body does not.
const REQUEST_ID_HEADER: &str = "x-acs-request-id";
/// Ends of names of parameters that hold secrets.
const SECRET_PARAMETERS: &[&str] = &["Password", "Token"];
/// The parts of a RAM denial that tell what to change; the rest is opaque.
const DENIAL_PARTS: &[&str] = &[
    "AuthAction",
    "AuthPrincipalDisplayName",
    "NoPermissionType",
    "PolicyType",
];

/// What a body says of an error.
#[derive(Debug, Default, PartialEq)]
struct Envelope {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    denial: Option<String>,
}

/// Whether the answer is a success. The code decides where there is one, else the status.
pub(crate) fn check(answer: &Answer, parameters: &Parameters) -> Result<(), Refusal> {
    let json = serde_json::from_slice::<Value>(&answer.body)
        .ok()
        .filter(Value::is_object);
    let envelope = match &json {
        Some(body) => from_json(body),
        None => from_xml(&String::from_utf8_lossy(&answer.body)).unwrap_or_default(),
    };
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let request_id = envelope
        .request_id
        .clone()
        .or_else(|| header(REQUEST_ID_HEADER).map(str::to_owned));
    let refusal = |class, code: String, message: String, retry_after| {
        Err(Refusal {
            class,
            code,
            message,
            request_id: request_id.clone(),
            retry_after,
        })
    };
    if answer.status.is_success() && envelope.code.is_none() {
        // Every success names its request; anything else came from something in between.
        return match json.is_some() && envelope.request_id.is_some() {
            true => Ok(()),
            false => refusal(
                RefusalClass::Undecodable,
                format!("HTTP {}", answer.status.as_u16()),
                "the answer is not one of this API; is there a proxy in between?".to_owned(),
                None,
            ),
        };
    }
    let retry_after = header(RETRY_AFTER_HEADER)
        .and_then(|text| text.trim().parse().ok())
        .filter(|millis| *millis > 0)
        .map(Duration::from_millis);
    let message = message(&envelope, answer.status, parameters);
    let known = envelope.code.as_deref().and_then(|code| code::known(code, &message));
    let class = match known.unwrap_or_else(|| Meaning::of_status(answer.status)).class {
        // The vendor's SDK takes any refusal with this header for a throttling; a 5xx may have done something all the same.
        RefusalClass::Final if known.is_none() && retry_after.is_some() => RefusalClass::Throttled,
        class => class,
    };
    let code = envelope
        .code
        .unwrap_or_else(|| format!("HTTP {}", answer.status.as_u16()));
    refusal(class, code, message, retry_after)
}

fn message(envelope: &Envelope, status: StatusCode, parameters: &Parameters) -> String {
    let mut text = match (&envelope.message, &envelope.code) {
        // The gateway's text repeats the request as it would have signed it, passwords included.
        (_, Some(code)) if code.starts_with("SignatureDoesNotMatch") => {
            "the signature is wrong, so the access key secret is".to_owned()
        }
        (Some(message), _) => message.clone(),
        (None, _) => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    for secret in parameters.values_of(SECRET_PARAMETERS) {
        let encoded = params::encode(secret);
        text = text::without(text, [secret, &encoded, &encoded.replace("%20", "+")]);
    }
    if let Some(denial) = &envelope.denial {
        text = format!("{text} ({denial})");
    }
    text::clipped(text)
}

fn from_json(body: &Value) -> Envelope {
    let text = |names: &[&str]| {
        let value = names.iter().find_map(|name| body.get(name))?;
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let denial = body
        .get("AccessDeniedDetail")
        .or_else(|| body.get("accessDeniedDetail"));
    let parts: Vec<String> = DENIAL_PARTS
        .iter()
        .filter_map(|name| Some(format!("{name} {}", denial?.get(name)?.as_str()?)))
        .collect();
    Envelope {
        code: text(&["Code", "code"]),
        message: text(&["Message", "message"]),
        request_id: text(&["RequestId", "requestId"]),
        denial: (!parts.is_empty()).then(|| parts.join(", ")),
    }
}

/// Reads `<Error><RequestId>…</RequestId><Code>…</Code>…</Error>`, the only XML there is.
fn from_xml(body: &str) -> Option<Envelope> {
    let text = body.trim_start_matches('\u{feff}').trim_start();
    let root = match text.strip_prefix("<?") {
        Some(declaration) => declaration.split_once("?>")?.1.trim_start(),
        None => text,
    };
    let inner = root.strip_prefix("<Error>")?;
    let element = |name: &str| {
        let (_, rest) = inner.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(unescape(value.trim())).filter(|value| !value.is_empty())
    };
    Some(Envelope {
        code: element("Code"),
        message: element("Message"),
        request_id: element("RequestId"),
        denial: None,
    })
}

fn unescape(text: &str) -> String {
    // The ampersand last: it may not make a new entity of what follows.
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    entities
        .iter()
        .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}
