//! A server on a loopback port, and the definitions the tests use.

use std::net::SocketAddr;

use imagecache_apiserver::{ApiServer, Data, Options, Token};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Group of the definitions made for tests.
pub const GROUP: &str = "test.imagecache.dev";

/// A served [`ApiServer`]; stops when dropped or told.
pub struct Served {
    pub addr: SocketAddr,
    pub server: ApiServer,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    pub async fn start(data: Data, token: Option<&str>) -> Self {
        let crds = vec![serde_json::from_value(widgets("widgets", "Widget", "Namespaced")).unwrap()];
        let server = ApiServer::open(Options {
            data,
            token: token.map(Token::new),
            crds,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = server.clone();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            running.serve(listener, stopped).await.unwrap();
        });
        Self {
            addr,
            server,
            stop: Some(stop),
            task,
        }
    }

    pub async fn memory() -> Self {
        Self::start(Data::Memory, None).await
    }

    pub fn client(&self) -> Client {
        let config = Config::new(format!("http://{}", self.addr).parse().unwrap());
        Client::try_from(config).unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A definition with about everything a schema can say.
pub fn widgets(plural: &str, kind: &str, scope: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": scope,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
                "shortNames": [format!("{}x", &plural[..2])], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "description": "A widget for tests.", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer", "minimum": 1, "maximum": 100, "description": "How large it is."},
                        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 8},
                        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3, "x-kubernetes-list-type": "set"},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                            "items": {"type": "object", "required": ["id"], "properties": {
                                "id": {"type": "string"}, "count": {"type": "integer"}, "note": {"type": "string"}}}},
                        "plain": {"type": "array", "items": {"type": "integer"}},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        "maybe": {"type": "string", "nullable": true},
                        "either": {"x-kubernetes-int-or-string": true},
                    }},
                    "status": {"type": "object", "properties": {
                        "phase": {"type": "string"},
                        "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                            "items": {"type": "object", "required": ["type", "status"], "properties": {
                                "type": {"type": "string"}, "status": {"type": "string"}}}},
                    }},
                }}},
            }],
        },
    })
}

/// The definition as the type clients use.
pub fn definition(plural: &str, kind: &str, scope: &str) -> CustomResourceDefinition {
    serde_json::from_value(widgets(plural, kind, scope)).unwrap()
}
