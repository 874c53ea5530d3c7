//! Both `ImageCache` custom resources and both vendor dialects, to and from the domain types.
//!
//! Everything here is a pure function. A dialect parses what a user wrote into a [`ParsedRequest`] and renders a [`Report`]
//! into the status fields that its vendor prints; it decides nothing. [`pod`] does the same for pods' annotations.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printcolumn of a resource names its type, so types repeat"
)]

pub mod alibaba;
mod annotations;
mod dialect;
mod effects;
mod parse;
pub mod pod;
mod report;
mod schema;
pub mod tencent;

pub use dialect::{ImageCacheDialect, InvalidSpec, ParsedRequest, SecretRef};
pub use effects::{Effects, Problem};
pub use report::{Memory, Report, ReportPhase};
pub use schema::{CommonStatus, StatusEvent};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;

/// The custom resource definitions of both vendors, as they are installed into a cluster.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![alibaba::ImageCache::crd(), tencent::ImageCache::crd()]
}
