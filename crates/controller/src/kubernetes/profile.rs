//! Reads `eci-profile`: where a cluster on Alibaba Cloud keeps the network that everything without one of its own uses.

use imagecache_core::{AlibabaResources, ErrorKind, Failure};
use imagecache_k8s_api::alibaba;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

/// Where the vendor's components keep it ("Configure eci-profile", 2025-05).
const NAMESPACE: &str = "kube-system";
const NAME: &str = "eci-profile";

/// What the profile says; nothing where there is none.
///
/// # Errors
///
/// `PermissionDenied` or `Unavailable` when it cannot be read.
pub(super) async fn defaults(client: &Client) -> Result<AlibabaResources, Failure> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let found = api.get_opt(NAME).await.map_err(|error| {
        let (kind, remedy) = match &error {
            kube::Error::Api(status) if status.code == 403 => (
                ErrorKind::PermissionDenied,
                ", grant the controller `get` on it or set controller.eci_profile to false",
            ),
            _ => (ErrorKind::Unavailable, ""),
        };
        Failure {
            kind,
            message: format!("ConfigMap `{NAMESPACE}/{NAME}` cannot be read{remedy}: {error}"),
        }
    })?;
    Ok(alibaba::profile_defaults(
        &found.and_then(|profile| profile.data).unwrap_or_default(),
    ))
}
