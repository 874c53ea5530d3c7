//! The API server's question and our answer to it: `AdmissionReview` of `admission.k8s.io/v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::patch::Operation;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// HTTP code of a refusal, which clients of the API server see.
const FORBIDDEN: u16 = 403;
/// Longest warning in bytes: the API server shows at most 4096 of all warnings of a request together ("Dynamic Admission
/// Control").
const MAX_WARNING_BYTES: usize = 1024;

/// A question of the API server.
#[derive(Debug, Deserialize)]
pub(super) struct Question<'a> {
    /// Repeated in the answer.
    pub(super) uid: String,
    /// What the object is.
    pub(super) kind: Kind,
    /// `CREATE`, `UPDATE`, …
    pub(super) operation: String,
    /// `binding`, `ephemeralcontainers`, …; empty for the object itself.
    #[serde(default, rename = "subResource")]
    pub(super) sub_resource: String,
    /// Where the object will be.
    #[serde(default)]
    pub(super) namespace: String,
    /// The object, as the API server wrote it.
    #[serde(borrow, default)]
    pub(super) object: Option<&'a RawValue>,
}

/// Group, version and kind of an object.
#[derive(Debug, Deserialize)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(borrow)]
    request: Question<'a>,
}

/// What is said about an object.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// Why it may not be created; `None` when it may.
    pub(super) refusal: Option<String>,
    /// What to change in it.
    pub(super) patch: Vec<Operation>,
    /// What whoever creates it should know.
    pub(super) warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
}

/// Reads a question.
///
/// # Errors
///
/// When the body is no review of a version that we know. Says nothing of its content.
pub(super) fn question(body: &[u8]) -> Result<Question<'_>, String> {
    let review: Review<'_> = serde_json::from_slice(body).map_err(|error| {
        format!(
            "the body is no {KIND}: not what is expected at line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    if (review.api_version.as_str(), review.kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!("only {KIND} of {API_VERSION} is understood"));
    }
    Ok(review.request)
}

/// Writes the answer to the question with this UID.
pub(super) fn response(uid: &str, answer: &Answer) -> Result<Vec<u8>, serde_json::Error> {
    let patch = match answer.patch.as_slice() {
        [] => None,
        patch => Some(STANDARD.encode(serde_json::to_vec(patch)?)),
    };
    let refusal = |message: &String| json!({ "code": FORBIDDEN, "reason": "Forbidden", "message": message });
    let response = Response {
        uid,
        allowed: answer.refusal.is_none(),
        status: answer.refusal.as_ref().map(refusal),
        patch_type: patch.is_some().then_some("JSONPatch"),
        patch,
        warnings: answer.warnings.iter().map(|text| shortened(text)).collect(),
    };
    serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response }))
}

fn shortened(text: &str) -> &str {
    let end = text.floor_char_boundary(MAX_WARNING_BYTES);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_no_review_is_told_without_its_content() {
        let request =
            json!({ "uid": "1", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE" });
        let rows = [
            ("empty", String::new(), "no AdmissionReview"),
            (
                "other JSON",
                json!({ "password": "hunter2" }).to_string(),
                "no AdmissionReview",
            ),
            (
                "a number where text belongs",
                json!({ "apiVersion": API_VERSION, "kind": "hunter2", "request": { "uid": 1 } }).to_string(),
                "line 1",
            ),
            (
                "the beta",
                json!({ "apiVersion": "admission.k8s.io/v1beta1", "kind": KIND, "request": request }).to_string(),
                "only AdmissionReview of admission.k8s.io/v1",
            ),
            (
                "no request",
                json!({ "apiVersion": API_VERSION, "kind": KIND }).to_string(),
                "no AdmissionReview",
            ),
        ];
        for (row, body, part) in rows {
            let error = question(body.as_bytes()).expect_err(row);
            assert!(error.contains(part) && !error.contains("hunter2"), "{row}: {error}");
        }
    }

    #[test]
    fn answers_are_written_as_the_api_server_reads_them() {
        let written = |answer: &Answer| -> Value { serde_json::from_slice(&response("u-1", answer).unwrap()).unwrap() };
        assert_eq!(
            written(&Answer::default()),
            json!({ "apiVersion": API_VERSION, "kind": KIND, "response": { "uid": "u-1", "allowed": true } })
        );
        let refused = written(&Answer {
            refusal: Some("no".to_owned()),
            ..Answer::default()
        });
        assert_eq!(refused["response"]["allowed"], false);
        assert_eq!(
            refused["response"]["status"],
            json!({ "code": 403, "reason": "Forbidden", "message": "no" })
        );
        let patched = written(&Answer {
            patch: vec![Operation::add(&["metadata", "annotations"], json!({ "a": "b" }))],
            warnings: vec!["ä".repeat(MAX_WARNING_BYTES)],
            ..Answer::default()
        });
        assert_eq!(patched["response"]["patchType"], "JSONPatch");
        let patch = STANDARD.decode(patched["response"]["patch"].as_str().unwrap()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&patch).unwrap(),
            json!([{ "op": "add", "path": "/metadata/annotations", "value": { "a": "b" } }])
        );
        assert_eq!(
            patched["response"]["warnings"][0].as_str().unwrap().len(),
            MAX_WARNING_BYTES
        );
    }
}
