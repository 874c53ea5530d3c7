//! An API server that knows exactly which calls will come: a missing call and an extra call both fail the test.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// Answers one call: gets the body, gives status code and body.
type Answer = Box<dyn FnOnce(&Value) -> (u16, Value) + Send>;

struct Step {
    method: Method,
    path: String,
    answer: Answer,
}

/// The script and what really happened.
#[derive(Clone, Default)]
pub(super) struct Script {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    steps: VecDeque<Step>,
    surprises: Vec<String>,
    bodies: Vec<String>,
}

impl Script {
    /// A client whose calls the script answers.
    pub(super) fn client(&self) -> Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let script = script.clone();
            async move { Ok::<_, Infallible>(script.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// The next call will be this one.
    pub(super) fn expect(
        &self,
        method: Method,
        path: impl Into<String>,
        answer: impl FnOnce(&Value) -> (u16, Value) + Send + 'static,
    ) {
        let step = Step {
            method,
            path: path.into(),
            answer: Box::new(answer),
        };
        self.inner.lock().unwrap().steps.push_back(step);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let call = format!("{} {}", parts.method, parts.uri.path());
        let mut inner = self.inner.lock().unwrap();
        inner.bodies.push(String::from_utf8_lossy(&bytes).into_owned());
        let expected = inner
            .steps
            .front()
            .is_some_and(|step| step.method == parts.method && is_path(&step.path, parts.uri.path()));
        let (code, body) = if expected {
            let step = inner.steps.pop_front().unwrap();
            (step.answer)(&value)
        } else {
            let waiting = inner.steps.front().map(|step| format!("{} {}", step.method, step.path));
            inner
                .surprises
                .push(format!("{call} with {value}, expected {waiting:?}"));
            failure(500, "not in the script")
        };
        Response::builder()
            .status(code)
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap()
    }

    /// Fails unless exactly the expected calls came.
    pub(super) fn assert_done(&self, when: &str) {
        let inner = self.inner.lock().unwrap();
        assert!(
            inner.surprises.is_empty(),
            "{when}: unexpected calls: {:#?}",
            inner.surprises
        );
        let missing: Vec<_> = inner
            .steps
            .iter()
            .map(|step| format!("{} {}", step.method, step.path))
            .collect();
        assert!(missing.is_empty(), "{when}: missing calls: {missing:#?}");
    }

    /// Everything that was ever sent.
    pub(super) fn everything_sent(&self) -> String {
        self.inner.lock().unwrap().bodies.join("\n")
    }
}

/// A `Status` object as the API server sends it.
pub(super) fn failure(code: u16, message: &str) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "InternalError" };
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    (code, body)
}

/// Whether `path` is `expected`, which may end in `*` for any last part.
fn is_path(expected: &str, path: &str) -> bool {
    match expected.strip_suffix('*') {
        Some(start) => path.starts_with(start) && !path.get(start.len()..).unwrap_or_default().contains('/'),
        None => path == expected,
    }
}
