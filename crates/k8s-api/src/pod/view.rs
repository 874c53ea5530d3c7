//! What of a pod matters here, read so that nothing else in it can get in the way.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::schema::lenient;

/// The part of a pod that is about images and caches.
///
/// Unknown fields are ignored, and so is every part that does not have the shape that Kubernetes gives it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodView {
    /// Names, labels and annotations.
    #[serde(deserialize_with = "lenient")]
    pub metadata: PodMetadata,
    /// Containers and pull secrets.
    #[serde(deserialize_with = "lenient")]
    pub spec: PodSpecView,
    /// How it stands.
    #[serde(deserialize_with = "lenient")]
    pub status: PodStatusView,
}

/// Names, labels and annotations of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Its name; empty while the API server has not made one.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// What its name will start with.
    #[serde(deserialize_with = "lenient")]
    pub generate_name: String,
    /// Its namespace; a pod under admission may not have it yet.
    #[serde(deserialize_with = "lenient")]
    pub namespace: String,
    /// Its UID; empty under admission.
    #[serde(deserialize_with = "lenient")]
    pub uid: String,
    /// When it was created.
    #[serde(deserialize_with = "lenient")]
    pub creation_timestamp: Option<jiff::Timestamp>,
    /// Labels.
    #[serde(deserialize_with = "texts")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "texts")]
    pub annotations: BTreeMap<String, String>,
}

/// Containers and pull secrets of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpecView {
    /// Containers.
    #[serde(deserialize_with = "list")]
    pub containers: Vec<ContainerView>,
    /// Init containers.
    #[serde(deserialize_with = "list")]
    pub init_containers: Vec<ContainerView>,
    /// Secrets of its namespace with registry credentials.
    #[serde(deserialize_with = "list")]
    pub image_pull_secrets: Vec<LocalSecret>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerView {
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// Its image, as it was written.
    #[serde(deserialize_with = "lenient")]
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; empty where it was not said.
    #[serde(deserialize_with = "lenient")]
    pub image_pull_policy: String,
}

/// A secret in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LocalSecret {
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
}

/// How a pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodStatusView {
    /// `Pending`, `Running`, `Succeeded` or `Failed`; empty under admission.
    #[serde(deserialize_with = "lenient")]
    pub phase: String,
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let spec = pod.spec.unwrap_or_default();
        let containers = |list: Vec<Container>| list.into_iter().map(ContainerView::from).collect();
        let secrets = spec.image_pull_secrets.unwrap_or_default().into_iter();
        Self {
            metadata: PodMetadata {
                name: pod.metadata.name.unwrap_or_default(),
                generate_name: pod.metadata.generate_name.unwrap_or_default(),
                namespace: pod.metadata.namespace.unwrap_or_default(),
                uid: pod.metadata.uid.unwrap_or_default(),
                creation_timestamp: pod.metadata.creation_timestamp.map(|time| time.0),
                labels: pod.metadata.labels.unwrap_or_default(),
                annotations: pod.metadata.annotations.unwrap_or_default(),
            },
            spec: PodSpecView {
                containers: containers(spec.containers),
                init_containers: containers(spec.init_containers.unwrap_or_default()),
                image_pull_secrets: secrets.map(|secret| LocalSecret { name: secret.name }).collect(),
            },
            status: PodStatusView {
                phase: pod.status.and_then(|status| status.phase).unwrap_or_default(),
            },
        }
    }
}

impl From<Container> for ContainerView {
    fn from(container: Container) -> Self {
        Self {
            name: container.name,
            image: container.image.unwrap_or_default(),
            image_pull_policy: container.image_pull_policy.unwrap_or_default(),
        }
    }
}

/// A map's texts; an entry that is none is left out alone.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let entries: BTreeMap<String, Value> = lenient(deserializer)?;
    let text = |(name, value)| match value {
        Value::String(text) => Some((name, text)),
        _ => None,
    };
    Ok(entries.into_iter().filter_map(text).collect())
}

/// A list's entries; one of another shape stands for an empty one, so that the others keep their places.
fn list<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let entries: Vec<Value> = lenient(deserializer)?;
    let entry = |value| serde_json::from_value(value).unwrap_or_default();
    Ok(entries.into_iter().map(entry).collect())
}
