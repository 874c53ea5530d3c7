//! The `MutatingWebhookConfiguration`: where the API server finds us and whom it trusts.

use imagecache_core::BoxError;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

/// Name of the object.
pub(super) const NAME: &str = "imagecache-webhook";
/// The object as it is installed beside a controller that runs in the cluster.
const MANIFEST: &str = include_str!("../../../../config/deploy/base/webhook.yaml");

/// Who makes the object.
#[derive(Clone, Debug)]
pub(super) enum Registration {
    /// The manifests did, with a Service that leads here: only whom to trust is missing.
    Installed,
    /// We do, under this URL: a controller that runs outside the cluster.
    AtUrl(String),
}

/// How the object is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Whom to trust was as it should be.
    Right,
    /// It was corrected.
    Corrected,
    /// There is none, and whoever installs the controller has to make it.
    Missing,
}

/// Makes the API server trust `authorities` (PEM), and nobody else.
pub(super) async fn ensure(
    api: &Api<MutatingWebhookConfiguration>,
    registration: &Registration,
    authorities: &str,
) -> Result<Found, BoxError> {
    let found = api.get_opt(NAME).await?;
    let authorities = ByteString(authorities.as_bytes().to_vec());
    match (registration, found) {
        (Registration::Installed, None) => Ok(Found::Missing),
        (Registration::Installed, Some(found)) => trust(api, &found, &authorities).await,
        (Registration::AtUrl(url), found) => register(api, found, url, authorities).await,
    }
}

async fn trust(
    api: &Api<MutatingWebhookConfiguration>,
    found: &MutatingWebhookConfiguration,
    authorities: &ByteString,
) -> Result<Found, BoxError> {
    let webhooks = found.webhooks.iter().flatten();
    if webhooks
        .clone()
        .all(|hook| hook.client_config.ca_bundle.as_ref() == Some(authorities))
    {
        return Ok(Found::Right);
    }
    let webhooks: Vec<_> = webhooks
        .map(|hook| json!({ "name": hook.name, "clientConfig": { "caBundle": authorities } }))
        .collect();
    // The version keeps a webhook from coming back that somebody takes out at this moment.
    let patch = json!({ "metadata": { "resourceVersion": found.resource_version() }, "webhooks": webhooks });
    api.patch(NAME, &PatchParams::default(), &Patch::Strategic(patch))
        .await?;
    Ok(Found::Corrected)
}

async fn register(
    api: &Api<MutatingWebhookConfiguration>,
    found: Option<MutatingWebhookConfiguration>,
    url: &str,
    authorities: ByteString,
) -> Result<Found, BoxError> {
    let mut wanted: MutatingWebhookConfiguration = serde_yaml_ng::from_str(MANIFEST)?;
    for hook in wanted.webhooks.iter_mut().flatten() {
        hook.client_config = WebhookClientConfig {
            ca_bundle: Some(authorities.clone()),
            url: Some(url.to_owned()),
            service: None,
        };
    }
    let Some(mut found) = found else {
        api.create(&PostParams::default(), &wanted).await?;
        return Ok(Found::Corrected);
    };
    // All of it is ours, rules and timeout as well: a new version's may differ from those that an older one left.
    if holds(
        &serde_json::to_value(&found.webhooks)?,
        &serde_json::to_value(&wanted.webhooks)?,
    ) {
        return Ok(Found::Right);
    }
    // What others wrote beside the webhooks stays, and the version with it.
    found.webhooks = wanted.webhooks;
    found.labels_mut().extend(wanted.metadata.labels.unwrap_or_default());
    api.replace(NAME, &PostParams::default(), &found).await?;
    Ok(Found::Corrected)
}

/// Whether `found` says all that `wanted` says: newer API servers fill in fields that we do not know.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| holds(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}
