//! ImageCache objects through the Kubernetes API, in both vendors' forms.

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use serde_json::json;

use crate::context::Context;
use crate::image::Images;
use crate::objects::{Dialect, messages};
use crate::plane::Plane;
use crate::registry::Registry;
use crate::scenarios::command_line::is_cache_id;
use crate::scenarios::images;

pub async fn both_dialects_become_ready(context: Context) -> Result<()> {
    let registry = Registry::of(&[("small", images::small()?), ("basic", images::basic()?)]).await?;
    let mut plane = Plane::start(&context).await?;
    let spec = json!({ "images": [registry.image("small"), registry.image("basic")] });
    for (dialect, word) in Dialect::ALL {
        let name = context.name(word);
        plane.create(dialect, &name, spec.clone()).await?;
        let object = plane.wait_phase(dialect, &name, "Ready").await?;
        let id = dialect.id(&object);
        ensure!(is_cache_id(&id), "{word}: the status has id {id:?}");
        if dialect == Dialect::Alibaba {
            ensure!(
                dialect.status(&object, "progress") == "100%",
                "{word}: {}",
                object.data["status"]
            );
        }
        context.binary().run(&["verify", &id]).await?;
        plane.delete(dialect, &name).await?;
        context.binary().fails(&["get", &id]).await?;
    }
    plane.finish().await
}

pub async fn status_says_what_the_vendors_say(context: Context) -> Result<()> {
    let registry = Registry::of(&[("small", images::small()?)]).await?;
    let mut plane = Plane::start(&context).await?;
    let spec = json!({ "images": [registry.image("small")], "retentionDays": 7, "imageCacheSize": 25 });

    let name = context.name("fields");
    plane.create(Dialect::Alibaba, &name, spec.clone()).await?;
    let object = plane.wait_phase(Dialect::Alibaba, &name, "Ready").await?;
    let status = &object.data["status"];
    for field in [
        "imageCacheId",
        "phase",
        "progress",
        "startTime",
        "lastUpdatedTime",
        "expireDateTime",
    ] {
        ensure!(
            status[field].as_str().is_some_and(|text| !text.is_empty()),
            "no {field} in {status}"
        );
    }
    ensure!(
        status["events"].as_array().is_some_and(|events| !events.is_empty()),
        "no events in {status}"
    );
    let ready = |condition: &serde_json::Value| condition["type"] == "Ready" && condition["status"] == "True";
    ensure!(
        status["conditions"].as_array().is_some_and(|all| all.iter().any(ready)),
        "no Ready condition in {status}"
    );
    let finalizers = object.metadata.finalizers.unwrap_or_default();
    ensure!(
        !finalizers.is_empty(),
        "a Ready object without finalizer would leave its cache behind"
    );

    let name = context.name("tencent-fields");
    plane.create(Dialect::Tencent, &name, spec).await?;
    let object = plane.wait_phase(Dialect::Tencent, &name, "Ready").await?;
    let status = &object.data["status"];
    for field in ["imcId", "imcPhase", "snapshotId"] {
        ensure!(
            status[field].as_str().is_some_and(|text| !text.is_empty()),
            "no {field} in {status}"
        );
    }
    plane.finish().await
}

pub async fn private_image_with_pull_secret(context: Context) -> Result<()> {
    let (user, password) = ("e2e-user", "e2e-pass/word: ü");
    let registry = Registry::serve_to(&Images::of(&[("small", images::small()?)]), user, password).await?;
    let mut plane = Plane::start(&context).await?;
    let secret_name = context.name("pull");
    let config = json!({ "auths": { registry.host(): { "username": user, "password": password } } });
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": secret_name },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": config.to_string() },
    });
    let secrets: Api<DynamicObject> = Api::namespaced_with(
        plane.client()?.clone(),
        "default",
        &kube::api::ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk("", "v1", "Secret")),
    );
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    for (dialect, word) in Dialect::ALL {
        let name = context.name(&format!("private-{word}"));
        let reference = dialect.pull_secret("default", &secret_name);
        let spec = json!({ "images": [registry.image("small")], "imagePullSecrets": [reference] });
        plane.create(dialect, &name, spec).await?;
        let object = plane.wait_phase(dialect, &name, "Ready").await?;
        let text = serde_json::to_string(&object)?;
        ensure!(!text.contains(password), "{word}: the password is in the object");
        plane.delete(dialect, &name).await?;
    }
    let _ = secrets.delete(&secret_name, &DeleteParams::default()).await?;
    plane.finish().await?;
    let log = std::fs::read_to_string(context.dir.join("plane.log"))?;
    ensure!(!log.contains(password), "the password is in the log");
    for (path, _) in crate::store::files(context.binary().store())? {
        let bytes = std::fs::read(context.binary().store().join(&path))?;
        let found = bytes
            .windows(password.len())
            .any(|window| window == password.as_bytes());
        ensure!(!found, "the password is in {}", path.display());
    }
    Ok(())
}

pub async fn schema_refuses_what_is_out_of_range(context: Context) -> Result<()> {
    let plane = Plane::start(&context).await?;
    let image = "registry.invalid/image:tag";
    let rows = [
        ("no images field", Dialect::Alibaba, json!({}), "images"),
        ("no images", Dialect::Alibaba, json!({ "images": [] }), "images"),
        ("images is text", Dialect::Alibaba, json!({ "images": image }), "images"),
        (
            "size below",
            Dialect::Alibaba,
            json!({ "images": [image], "imageCacheSize": 19 }),
            "imageCacheSize",
        ),
        (
            "size above",
            Dialect::Alibaba,
            json!({ "images": [image], "imageCacheSize": 32769 }),
            "imageCacheSize",
        ),
        (
            "size is text",
            Dialect::Alibaba,
            json!({ "images": [image], "imageCacheSize": "20" }),
            "imageCacheSize",
        ),
        (
            "retention below",
            Dialect::Alibaba,
            json!({ "images": [image], "retentionDays": 0 }),
            "retentionDays",
        ),
        (
            "retention above",
            Dialect::Alibaba,
            json!({ "images": [image], "retentionDays": 65537 }),
            "retentionDays",
        ),
        (
            "tencent: no images",
            Dialect::Tencent,
            json!({ "images": [] }),
            "images",
        ),
        (
            "tencent: size below",
            Dialect::Tencent,
            json!({ "images": [image], "imageCacheSize": 19 }),
            "imageCacheSize",
        ),
        (
            "tencent: retention above",
            Dialect::Tencent,
            json!({ "images": [image], "retentionDays": 3651 }),
            "retentionDays",
        ),
    ];
    for (row, dialect, spec, field) in rows {
        let object = dialect.object(&context.name("range"), spec)?;
        match dialect
            .api(plane.client()?)
            .create(&PostParams::default(), &object)
            .await
        {
            Err(kube::Error::Api(status)) => {
                ensure!(
                    status.code == 422,
                    "{row}: refused with {} and not 422: {}",
                    status.code,
                    status.message
                );
                ensure!(
                    status.message.contains(field),
                    "{row}: the message does not name {field}: {}",
                    status.message
                );
            }
            Err(error) => return Err(error.into()),
            Ok(object) => {
                let messages = messages(&object);
                plane.delete(dialect, &context.name("range")).await?;
                anyhow::bail!("{row}: accepted {messages:?}");
            }
        }
    }
    plane.finish().await
}
