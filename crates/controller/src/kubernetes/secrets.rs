//! Reads `imagePullSecrets`: which may be read, and what is in them.

use std::collections::BTreeSet;

use imagecache_core::{ErrorKind, Failure, RegistryCredential};
use imagecache_k8s_api::SecretRef;
use imagecache_oci::Keyring;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// Type and key of a secret made by `kubectl create secret docker-registry`.
const CONFIG_JSON: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
/// Type and key of the legacy form.
const LEGACY: (&str, &str) = ("kubernetes.io/dockercfg", ".dockercfg");

/// From which namespaces pull secrets may be read.
///
/// An `ImageCache` is cluster-scoped and can name any secret, so whoever may create one can have the controller send any
/// registry password to a registry: where that matters, name the namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PullSecretPolicy {
    /// From every namespace, as both vendors do.
    #[default]
    AnyNamespace,
    /// From these namespaces only.
    Only(BTreeSet<String>),
}

impl From<Vec<String>> for PullSecretPolicy {
    /// No names mean every namespace.
    fn from(namespaces: Vec<String>) -> Self {
        if namespaces.is_empty() {
            Self::AnyNamespace
        } else {
            Self::Only(namespaces.into_iter().collect())
        }
    }
}

impl PullSecretPolicy {
    pub(crate) fn allows(&self, namespace: &str) -> bool {
        match self {
            Self::AnyNamespace => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// The credentials in all of `secrets`, in order.
///
/// # Errors
///
/// What is wrong with the first secret that cannot be used: `NotFound`, `PermissionDenied`, `Unauthenticated` when it is
/// malformed, or `Unavailable` when the API server does not answer. No message shows a value.
pub(super) async fn credentials(
    client: &Client,
    policy: &PullSecretPolicy,
    secrets: &[SecretRef],
) -> Result<Vec<RegistryCredential>, Failure> {
    let mut keyring = Keyring::default();
    for reference in secrets {
        keyring = keyring.or(read(client, policy, reference).await?);
    }
    Ok(keyring.to_credentials())
}

async fn read(client: &Client, policy: &PullSecretPolicy, reference: &SecretRef) -> Result<Keyring, Failure> {
    let fail = |kind, message: String| Failure {
        kind,
        message: format!("pull secret `{reference}` {message}"),
    };
    if !policy.allows(&reference.namespace) {
        let message = "is in a namespace that the controller's configuration does not allow pull secrets from";
        return Err(fail(ErrorKind::PermissionDenied, message.to_owned()));
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    match api.get_opt(&reference.name).await {
        Ok(Some(secret)) => parse(&secret, &reference.to_string()),
        Ok(None) => Err(fail(
            ErrorKind::NotFound,
            "does not exist, create it or correct spec.imagePullSecrets".to_owned(),
        )),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let message = "may not be read by the controller, grant it `get` on secrets in that namespace";
            Err(fail(ErrorKind::PermissionDenied, message.to_owned()))
        }
        Err(error) => Err(fail(ErrorKind::Unavailable, format!("cannot be read: {error}"))),
    }
}

fn parse(secret: &Secret, name: &str) -> Result<Keyring, Failure> {
    // What a user must mend in the secret, not in the spec: looked at again from time to time.
    let malformed = |message: String| Failure {
        kind: ErrorKind::Unauthenticated,
        message,
    };
    let value = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .map(|bytes| bytes.0.as_slice())
    };
    let what = format!("pull secret `{name}`");
    let keyring = match (value(CONFIG_JSON.1), value(LEGACY.1)) {
        (Some(bytes), _) => Keyring::from_docker_config_json(bytes, &what),
        (None, Some(bytes)) => Keyring::from_dockercfg(bytes, &what),
        (None, None) => {
            let found = secret.type_.as_deref().unwrap_or("Opaque");
            let (wanted, key) = CONFIG_JSON;
            return Err(malformed(format!(
                "{what} of type {found} has no `{key}`, it must be of type {wanted} or {}",
                LEGACY.0
            )));
        }
    };
    // A pull secret must not start helper programs on the controller's host.
    keyring
        .map(Keyring::without_helpers)
        .map_err(|error| malformed(error.message().to_owned()))
}
