//! ImageCache objects in both vendors' forms, written and read as plain JSON.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// One vendor's form of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `eci.alibabacloud.com/v1`
    Alibaba,
    /// `eks.cloud.tencent.com/v1`
    Tencent,
}

impl Dialect {
    /// Both, with a word for names.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Alibaba, "alibaba"), (Self::Tencent, "tencent")];

    /// API group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Alibaba => "eci.alibabacloud.com",
            Self::Tencent => "eks.cloud.tencent.com",
        }
    }

    /// The status field with the cache's id.
    pub fn id_field(self) -> &'static str {
        match self {
            Self::Alibaba => "imageCacheId",
            Self::Tencent => "imcId",
        }
    }

    /// The status field with the phase.
    pub fn phase_field(self) -> &'static str {
        match self {
            Self::Alibaba => "phase",
            Self::Tencent => "imcPhase",
        }
    }

    /// A pull secret as this vendor's spec names it.
    pub fn pull_secret(self, namespace: &str, name: &str) -> String {
        match self {
            Self::Alibaba => format!("{namespace}:{name}"),
            Self::Tencent => format!("{namespace}/{name}"),
        }
    }

    /// Client for this vendor's objects.
    pub fn api(self, client: &kube::Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    /// The object as an API server takes it.
    pub fn object(self, name: &str, spec: Value) -> Result<DynamicObject> {
        let object = json!({
            "apiVersion": format!("{}/v1", self.group()),
            "kind": "ImageCache",
            "metadata": { "name": name },
            "spec": spec,
        });
        serde_json::from_value(object).context("not a Kubernetes object")
    }

    /// The phase in an object's status; empty if it has none yet.
    pub fn phase(self, object: &DynamicObject) -> String {
        self.status(object, self.phase_field())
    }

    /// The cache's id in an object's status; empty if it has none yet.
    pub fn id(self, object: &DynamicObject) -> String {
        self.status(object, self.id_field())
    }

    /// A text in an object's status; empty if there is none.
    pub fn status(self, object: &DynamicObject, field: &str) -> String {
        object.data["status"][field].as_str().unwrap_or_default().to_owned()
    }

    fn resource(self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group(), "v1", "ImageCache"))
    }
}

/// Everything in an object's status that is a message: of its conditions, and of its events.
pub fn messages(object: &DynamicObject) -> Vec<String> {
    let status = &object.data["status"];
    let lists = [&status["conditions"], &status["events"]];
    let items = lists.into_iter().filter_map(Value::as_array).flatten();
    items
        .filter_map(|item| item["message"].as_str())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}
