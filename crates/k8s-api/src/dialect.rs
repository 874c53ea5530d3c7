//! What every dialect can do, and the core-side form of what a user asked for.

use std::fmt;

use imagecache_core::{CacheSpec, ErrorKind};
use k8s_openapi::ClusterResourceScope;
use kube_core::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CommonStatus, Report};

/// One vendor's `ImageCache`: parsed into core types, and a [`Report`] rendered into its status.
pub trait ImageCacheDialect:
    Resource<DynamicType = (), Scope = ClusterResourceScope>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The vendor's status.
    type Status: Clone + fmt::Debug + Default + PartialEq + Serialize + Send + Sync + 'static;

    /// Stable name of the dialect, used in logs and metric labels.
    const DIALECT: &'static str;

    /// What stands between namespace and name of a pull secret.
    const SECRET_SEPARATOR: char;

    /// Annotations of a pod without which its images cannot be pulled, each with the object's name for it. Of those with one
    /// name on the object the first that the pod has counts.
    const FROM_POD: &'static [(&'static str, &'static str)];

    /// What the object asks for.
    ///
    /// # Errors
    ///
    /// [`InvalidSpec`] names the first field that cannot be understood.
    fn request(&self) -> Result<ParsedRequest, InvalidSpec>;

    /// The status as it is stored, when there is one.
    fn status(&self) -> Option<&Self::Status>;

    /// The vendor's word for the phase; empty when none was written yet.
    fn phase(status: &Self::Status) -> &str;

    /// Id of the cache that pods may use; empty when none was written yet.
    fn id(status: &Self::Status) -> &str;

    /// The part that both vendors' statuses have.
    fn common(status: &Self::Status) -> &CommonStatus;

    /// The whole status that `report` becomes.
    fn render(report: &Report) -> Self::Status;
}

/// An `ImageCache` in core terms.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRequest {
    /// What to build; its credentials are empty until the pull secrets were read.
    pub spec: CacheSpec,
    /// Secrets that hold the registry credentials, in the order given.
    pub pull_secrets: Vec<SecretRef>,
}

/// A secret by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A spec that cannot be understood: which field, which value, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidSpec {
    field: String,
    message: String,
}

impl InvalidSpec {
    pub(crate) fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            field: field.into(),
            message: message.to_string(),
        }
    }

    /// Path of the field, for example `spec.images[1]`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Always [`ErrorKind::InvalidSpec`]: only a changed spec helps.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidSpec
    }
}
