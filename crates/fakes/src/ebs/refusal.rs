//! How the two services say no: REST-JSON for the EBS direct APIs, XML for EC2.

use serde_json::json;

use super::xml::{Element, NAMESPACE_FREE};
use crate::cloud::Reply;

/// A call that is turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    /// The machine-readable part of most exceptions of the EBS direct APIs.
    pub(crate) reason: Option<String>,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &str, reason: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            reason: reason.map(str::to_owned),
            message: message.into(),
        }
    }

    /// What the caller sent is wrong.
    pub(crate) fn invalid(reason: &str, message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", Some(reason), message)
    }

    /// A parameter is wrong.
    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::invalid("INVALID_PARAMETER_VALUE", message)
    }

    /// There is no such snapshot, or not yet.
    pub(crate) fn unknown_snapshot(id: &str) -> Self {
        Self::new(
            404,
            "ResourceNotFoundException",
            Some("SNAPSHOT_NOT_FOUND"),
            format!("The snapshot '{id}' does not exist."),
        )
    }

    /// As the EBS direct APIs answer.
    pub(crate) fn json(&self) -> Reply {
        let mut body = json!({ "Message": self.message });
        if let (Some(reason), Some(fields)) = (&self.reason, body.as_object_mut()) {
            fields.insert("Reason".to_owned(), json!(reason));
        }
        let mut reply = Reply::new(self.status, "application/json", body.to_string());
        reply.headers.push(("x-amzn-errortype", self.code.clone()));
        reply
    }

    /// As EC2 answers.
    pub(crate) fn xml(&self, request_id: &str) -> Reply {
        let error = Element::parent("Error")
            .with(Element::text("Code", &self.code))
            .with(Element::text("Message", &self.message));
        let document = Element::parent("Response")
            .with(Element::parent("Errors").with(error))
            .with(Element::text("RequestID", request_id));
        Reply::new(self.status, "text/xml;charset=UTF-8", document.document(NAMESPACE_FREE))
    }
}
