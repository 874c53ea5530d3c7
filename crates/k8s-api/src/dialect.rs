//! What every dialect can do, and the core-side form of what a user asked for.

use std::collections::BTreeMap;
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
    /// Security groups for the build, where a cloud has them.
    pub security_groups: Vec<String>,
    /// Options that only a cloud can honour, with the value as written.
    pub cloud_options: BTreeMap<CloudOption, String>,
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

/// Options of an `ImageCache` object that mean something to a cloud only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloudOption {
    /// Network segments for the build.
    VSwitchIds,
    /// Security group for the build.
    SecurityGroupId,
    /// Resource group that the cache is booked on.
    ResourceGroupId,
    /// Container Registry instances to reach without a password.
    AcrInstanceIds,
    /// Role of the account that runs the build.
    AcrServiceArns,
    /// Role of the account that owns the registry.
    AcrUserArns,
    /// Reuse layers of existing caches while building.
    LayerReuse,
    /// Make the cache usable from a temporary local snapshot.
    Flash,
    /// An existing public address for the build.
    EipInstanceId,
    /// Make a public address for the build.
    AutoCreateEip,
    /// Bandwidth of that address in Mbit/s.
    EipBandwidth,
    /// How that address is charged.
    EipInternetChargeType,
    /// Line type of that address.
    EipIsp,
    /// Shared bandwidth package of that address.
    EipCommonBandwidthPackageId,
    /// Tencent's JSON description of a public address.
    EipAttributes,
    /// Text of the `resolv.conf` to build with.
    ResolvConf,
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
