//! Where the certificate is kept: a Secret that all replicas share.

use std::collections::BTreeMap;

use imagecache_core::Secret as Hidden;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

use super::certificate::Material;

/// Its name.
pub(super) const NAME: &str = "imagecache-webhook-tls";
const TYPE: &str = "kubernetes.io/tls";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";

/// The certificate in `secret`; `None` when a part is missing or is no text.
pub(super) fn material(secret: &Secret) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Material {
        chain: text(CHAIN)?,
        key: Hidden::new(text(KEY)?),
        authorities: text(AUTHORITIES)?,
    })
}

/// Keeps `material` in the place of what `before` holds.
///
/// Returns whether it was kept: another replica may have been faster, and then its certificate counts.
pub(super) async fn keep(api: &Api<Secret>, before: Option<Secret>, material: &Material) -> kube::Result<bool> {
    let texts = [
        (CHAIN, &material.chain),
        (KEY, material.key.expose()),
        (AUTHORITIES, &material.authorities),
    ];
    let data: BTreeMap<String, ByteString> = texts
        .into_iter()
        .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
        .collect();
    let result = match before {
        Some(before) => {
            // The version is part of it, so this fails when somebody else wrote it meanwhile. What others added stays.
            let name = before.name_any();
            let kept = before.data.clone().unwrap_or_default();
            let secret = Secret {
                data: Some(kept.into_iter().chain(data).collect()),
                ..before
            };
            api.replace(&name, &PostParams::default(), &secret).await
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some([("app.kubernetes.io/name".to_owned(), "imagecache".to_owned())].into()),
                ..ObjectMeta::default()
            };
            let secret = Secret {
                metadata,
                type_: Some(TYPE.to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            api.create(&PostParams::default(), &secret).await
        }
    };
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}
