//! What a user can get wrong: each gives one clear message, in the conditions and in the events.

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::{Value, json};

use crate::context::Context;
use crate::image::Images;
use crate::objects::Dialect;
use crate::plane::{BUILD_LIMIT, Plane};
use crate::registry::Registry;
use crate::scenarios::images;
use crate::wait;

struct Row {
    name: &'static str,
    spec: Value,
    /// Words that the message must have, in any case.
    says: Vec<String>,
}

pub async fn each_gives_one_clear_message(context: Context) -> Result<()> {
    let mut served = Images::of(&[("small", images::small()?)]);
    served.add_for("elsewhere", &images::small()?, "s390x");
    served.add_claiming("too-large", &images::small()?, 21 << 30);
    let registry = Registry::serve(&served).await?;
    let private = Registry::serve_to(&served, "somebody", "else").await?;
    let mut plane = Plane::start(&context).await?;
    let malformed = context.name("malformed");
    let secrets = secrets(&plane)?;
    secrets
        .create(&PostParams::default(), &malformed_secret(&malformed)?)
        .await?;

    let small = registry.image("small");
    let missing = registry.image("no-such-tag");
    let rows = [
        row(
            "bad-reference",
            json!({ "images": ["Not An Image!"] }),
            &["Not An Image!"],
        ),
        row(
            "image-not-found",
            json!({ "images": [missing] }),
            &["no-such-tag", "does not exist"],
        ),
        row(
            "unauthorised",
            json!({ "images": [private.image("small")] }),
            &[private.host()],
        ),
        row(
            "platform-absent",
            json!({ "images": [registry.image("elsewhere")] }),
            &["elsewhere", "s390x"],
        ),
        row(
            "secret-missing",
            json!({ "images": [small], "imagePullSecrets": ["default:no-such-secret"] }),
            &["no-such-secret"],
        ),
        row(
            "secret-malformed",
            json!({ "images": [small], "imagePullSecrets": [format!("default:{malformed}")] }),
            &[&malformed],
        ),
        row(
            "secret-form",
            json!({ "images": [small], "imagePullSecrets": ["no-namespace"] }),
            &["no-namespace"],
        ),
        row(
            "too-large",
            json!({ "images": [registry.image("too-large")], "imageCacheSize": 20 }),
            &["imageCacheSize", "20"],
        ),
    ];
    for row in rows {
        let name = context.name(row.name);
        plane.create(Dialect::Alibaba, &name, row.spec).await?;
        let message = wait::until(&format!("{} to say what is wrong", row.name), BUILD_LIMIT, async || {
            let object = plane.get(Dialect::Alibaba, &name).await?;
            ensure!(Dialect::Alibaba.phase(&object) != "Ready", "{}: became Ready", row.name);
            Ok(failure(&object, &row.says).ok_or_else(|| object.data["status"].to_string()))
        })
        .await?;
        ensure!(
            !message.contains('\n'),
            "{}: the message has more than one line: {message}",
            row.name
        );
        wait::until(&format!("an event of {}", row.name), BUILD_LIMIT, async || {
            warning(&plane, &name, &row.says).await
        })
        .await?;
        plane.delete(Dialect::Alibaba, &name).await?;
    }
    let _ = secrets.delete(&malformed, &DeleteParams::default()).await?;
    plane.finish().await?;
    crate::store::nothing_unfinished(context.binary().store())
}

fn row(name: &'static str, spec: Value, says: &[&str]) -> Row {
    Row {
        name,
        spec,
        says: says.iter().map(|word| word.to_lowercase()).collect(),
    }
}

fn says_all(message: &str, words: &[String]) -> bool {
    let message = message.to_lowercase();
    words.iter().all(|word| message.contains(word))
}

/// The message of the Ready condition, once it is False and has every word.
fn failure(object: &DynamicObject, words: &[String]) -> Option<String> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready" && condition["status"] == "False")?;
    let message = ready["message"].as_str()?;
    says_all(message, words).then(|| message.to_owned())
}

/// Looks for a warning about an object with every word, among the cluster's events.
async fn warning(plane: &Plane, object: &str, words: &[String]) -> Result<std::result::Result<(), String>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
    let events: Api<DynamicObject> = Api::all_with(plane.client()?.clone(), &resource);
    let all = events.list(&ListParams::default()).await?;
    let about = all
        .items
        .iter()
        .filter(|event| event.data["regarding"]["name"] == object && event.data["type"] == "Warning");
    let notes: Vec<&str> = about.filter_map(|event| event.data["note"].as_str()).collect();
    Ok(if notes.iter().any(|note| says_all(note, words)) {
        Ok(())
    } else {
        Err(format!("{notes:?}"))
    })
}

fn secrets(plane: &Plane) -> Result<Api<DynamicObject>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
    Ok(Api::namespaced_with(plane.client()?.clone(), "default", &resource))
}

/// A secret of another type, with JSON in it that is no docker configuration. The API server itself refuses a
/// `kubernetes.io/dockerconfigjson` that is no JSON.
fn malformed_secret(name: &str) -> Result<DynamicObject> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "type": "Opaque",
        "stringData": { "something": "else" },
    });
    serde_json::from_value(secret).context("not an object")
}
