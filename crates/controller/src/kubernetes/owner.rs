//! Who this controller is to a provider that marks what it makes: the cluster, by the UID of its `kube-system` namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use tracing::warn;

/// Every cluster has this namespace from its first moment to its last, and its UID exists nowhere else.
const NAMESPACE: &str = "kube-system";
/// Between two attempts while the API server does not answer.
const RETRY: Duration = Duration::from_secs(5);

/// Why the cluster cannot be told from others.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the namespace `{NAMESPACE}`, whose UID marks this cluster's caches; grant `get` on it")]
pub struct OwnerError(#[source] kube::Error);

/// The cluster's mark; waits for an API server that does not answer.
///
/// # Errors
///
/// When the API server refuses: without a mark of its own a controller could take another cluster's caches for orphans.
pub async fn cluster_owner(client: &Client) -> Result<String, OwnerError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut told = false;
    loop {
        match namespaces.get(NAMESPACE).await {
            Ok(namespace) => {
                if let Some(uid) = namespace.uid() {
                    return Ok(uid);
                }
            }
            Err(error @ kube::Error::Api(_)) => return Err(OwnerError(error)),
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the API server does not answer, trying again"
                    );
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
