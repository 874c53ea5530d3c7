//! Whether an answer is a success, and what a refusal says. Refusals arrive inside a 200, and only the body is believed: not
//! the status, not the content type.

#[cfg(test)]
mod tests;

use http::StatusCode;
use imagecache_cloud_http::{Answer, Meaning, Refusal, RefusalClass, text};
use serde_json::Value;

use crate::code;
use crate::params::Parameters;

/// Ends of names of parameters that hold secrets.
const SECRET_PARAMETERS: &[&str] = &["Password", "Token", "SecretKey"];

/// What a body says.
#[derive(Debug, Default, PartialEq)]
struct Envelope {
    /// Whether it is a body of this API at all.
    known: bool,
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

/// Whether the answer is a success. `Response.Error` decides where there is one, else the status.
pub(crate) fn check(answer: &Answer, parameters: &Parameters) -> Result<(), Refusal> {
    let envelope = read(&answer.body);
    let status = || format!("HTTP {}", answer.status.as_u16());
    let (class, code, message) = match &envelope.code {
        Some(code) => {
            let message = message(&envelope, code, parameters);
            let meaning = code::known(code, &message).unwrap_or_else(|| Meaning::of_status(answer.status));
            (meaning.class, code.clone(), message)
        }
        None if !answer.status.is_success() => {
            let message = reason(answer.status).to_owned();
            (Meaning::of_status(answer.status).class, status(), message)
        }
        // Every success names its request; anything else came from something in between.
        None if envelope.known && envelope.request_id.is_some() => return Ok(()),
        None => {
            let message = "the answer is not one of this API; is there a proxy in between?".to_owned();
            (RefusalClass::Undecodable, status(), message)
        }
    };
    Err(Refusal {
        class,
        code,
        message,
        request_id: envelope.request_id,
        // The vendor documents no header that says how long.
        retry_after: None,
    })
}

fn message(envelope: &Envelope, code: &str, parameters: &Parameters) -> String {
    // The text may repeat the request as the service would have signed it.
    if code.starts_with("AuthFailure.SignatureFailure") {
        return "the signature is wrong, so the secret key is".to_owned();
    }
    let told = envelope.message.clone().unwrap_or_else(|| "no reason given".to_owned());
    let secrets = parameters.values_of(SECRET_PARAMETERS);
    // A body that is quoted has them as JSON has them.
    let quoted: Vec<String> = secrets
        .iter()
        .map(|secret| Value::from(*secret).to_string().trim_matches('"').to_owned())
        .collect();
    let forms = secrets.into_iter().chain(quoted.iter().map(String::as_str));
    text::clipped(text::without(told, forms))
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

fn read(body: &[u8]) -> Envelope {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(response) = body.get("Response").filter(|response| response.is_object()) else {
        return Envelope::default();
    };
    let error = response.get("Error").filter(|error| !error.is_null());
    let text = |value: Option<&Value>| {
        let text = value?.as_str()?;
        text::given(text)
    };
    Envelope {
        known: true,
        // An error without a code is one all the same.
        code: error.map(|error| text(error.get("Code")).unwrap_or_else(|| "no code".to_owned())),
        message: error.and_then(|error| text(error.get("Message"))),
        request_id: text(response.get("RequestId")),
    }
}
