//! An API server that keeps the two objects that the webhook needs, with versions and conflicts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

pub(super) const SECRET: &str = "/api/v1/namespaces/imagecache-system/secrets/imagecache-webhook-tls";
pub(super) const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/imagecache-webhook";

/// The objects by their paths.
#[derive(Clone, Default)]
pub(super) struct Api(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
    forbidden: Option<&'static str>,
}

impl Api {
    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (code, answer) = api.answer(&parts.method, parts.uri.path(), &body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        Client::new(service, "imagecache-system")
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Somebody else writes or removes an object.
    pub(super) fn put(&self, path: &str, object: Option<Value>) {
        let mut inner = self.0.lock().unwrap();
        match object {
            Some(object) => inner.keep(path, object),
            None => inner.objects.remove(path).unwrap_or_default(),
        };
    }

    /// Verb and path of every write since the last call of this.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }

    /// From now on everything under this path is forbidden.
    pub(super) fn forbid(&self, path: &'static str) {
        self.0.lock().unwrap().forbidden = Some(path);
    }

    fn answer(&self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let mut inner = self.0.lock().unwrap();
        if inner.forbidden == Some(path) {
            return failure(403, "Forbidden", &format!("cannot {method} {path}"));
        }
        if method != Method::GET {
            inner.writes.push(format!("{method} {path}"));
        }
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let created = format!("{path}/{name}");
        match (method, inner.objects.get(path).cloned()) {
            (&Method::POST, _) if inner.objects.contains_key(&created) => failure(409, "AlreadyExists", "exists"),
            (&Method::POST, _) => (201, inner.keep(&created, body.clone())),
            (_, None) => failure(404, "NotFound", "not found"),
            (&Method::GET, Some(present)) => (200, present),
            (_, Some(present)) if body["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"] => {
                failure(409, "Conflict", "changed meanwhile")
            }
            (&Method::PUT, Some(_)) => (200, inner.keep(path, body.clone())),
            (_, Some(mut present)) => {
                // As the real one merges webhooks: by name.
                for hook in body["webhooks"].as_array().unwrap() {
                    let hooks = present["webhooks"].as_array_mut().unwrap();
                    let same = hooks
                        .iter_mut()
                        .find(|present| present["name"] == hook["name"])
                        .unwrap();
                    same["clientConfig"]["caBundle"] = hook["clientConfig"]["caBundle"].clone();
                }
                (200, inner.keep(path, present))
            }
        }
    }
}

impl Inner {
    fn keep(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    (code, body)
}
