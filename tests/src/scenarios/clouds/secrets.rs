//! No secret in anything that a run leaves behind, at the most talkative log level.

use anyhow::{Result, ensure};
use imagecache_fakes::Fault;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::json;

use super::spec;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::plane::Plane;

/// A password with everything that encodings change.
const PASSWORD: &str = "p/ss w+rd~é%&=";

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind))
}

pub async fn appear_nowhere<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let binary = cloud.binary(&context)?;
    let mut plane = Plane::start_over(&context, binary.clone(), &[("IMAGECACHE_LOG__FILTER", "trace")]).await?;
    let secret_name = cloud.name(&context, "pull");
    let auths = json!({ "auths": { "registry.example.com": { "username": "robot", "password": PASSWORD } } });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": secret_name },
        "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": auths.to_string() },
    });
    let secrets: Api<DynamicObject> = Api::namespaced_with(plane.client()?.clone(), "default", &resource("Secret"));
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;

    // Everything that could be told wrongly: refusals, broken answers, lost answers, and success.
    for fault in [Fault::ServerErrorBefore, Fault::WrongJson, Fault::CutBody] {
        cloud.fake.inject("CreateImageCache", fault.clone(), 1);
        cloud.fake.inject("DescribeImageCaches", fault.clone(), 1);
    }
    let (status, code) = V::BUSY;
    let refusal = Fault::Refuse {
        status,
        code: code.to_owned(),
        message: "busy".to_owned(),
    };
    cloud.fake.inject(V::DELETE, refusal, 1);
    let name = cloud.name(&context, "secret");
    let mut wanted = spec("registry.example.com/app:1");
    wanted["imagePullSecrets"] = json!([V::DIALECT.pull_secret("default", &secret_name)]);
    plane.create(V::DIALECT, &name, wanted).await?;
    let object = plane.wait_phase(V::DIALECT, &name, "Ready").await?;
    let cache = cloud.only_cache()?;
    ensure!(
        cache.parameters.values().any(|value| value.contains(PASSWORD)),
        "the password did not reach the cloud: {:?}",
        cache.parameters.keys()
    );

    let mut shown = vec![serde_json::to_string(&object)?];
    let events: Api<DynamicObject> = Api::namespaced_with(plane.client()?.clone(), "default", &resource("Event"));
    shown.push(serde_json::to_string(
        &events.list(&ListParams::default()).await?.items,
    )?);
    shown.push(plane.metrics().await.unwrap_or_default());
    for arguments in [
        &["config"][..],
        &["list"],
        &["get", &cache.id],
        &["--log", "trace", "list"],
    ] {
        let output = binary.output(arguments).await?;
        shown.extend([output.stdout, output.stderr]);
    }
    plane.delete(V::DIALECT, &name).await?;
    let _ = secrets.delete(&secret_name, &DeleteParams::default()).await?;
    plane.finish().await?;
    let log = std::fs::read_to_string(context.dir.join("plane.log"))?;
    ensure!(
        log.contains("CreateImageCache"),
        "the log at level trace does not name the call that is looked for"
    );
    shown.push(log);

    let mut secrets = cloud.fake.secrets();
    secrets.push(PASSWORD.to_owned());
    for secret in secrets {
        for form in forms(&secret) {
            for text in &shown {
                ensure!(!text.contains(&form), "a secret is shown as {form:?}");
            }
        }
    }
    Ok(())
}

/// A secret as it is, and as URLs, JSON and base64 have it.
fn forms(secret: &str) -> Vec<String> {
    let encoded: String = secret
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    vec![secret.to_owned(), encoded.replace("%20", "+"), encoded]
}
