//! Pods as Knative makes them.

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::image::digest_of;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{ALIBABA, AUTO, AUTOMATIC, HIT, PERFECT, with_cache};
use crate::context::Context;
use crate::plane::BUILD_LIMIT;
use crate::pods::{Keeper, Pods, ensure_annotation, pod};
use crate::wait;

/// A pod of a revision: the image that its author wrote, and the sidecar that came with it.
fn of_revision(image: &str, sidecar: &str) -> Value {
    let mut object = pod(&[(AUTO, "true"), (PERFECT, "true")], &[image, sidecar]);
    object["metadata"]["labels"] = json!({ "serving.knative.dev/revision": "web-00001" });
    object["spec"]["containers"][0]["name"] = json!("user-container");
    object["spec"]["containers"][1]["name"] = json!("queue-proxy");
    object
}

fn by_digest(image: &str, digest: &str) -> Result<String> {
    let (repository, _) = image.rsplit_once(':').context("an image without tag")?;
    Ok(format!("{repository}@{digest}"))
}

/// The tag became a digest, and a sidecar came with it.
pub async fn a_knative_pod_is_told<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, id) = with_cache(&context, &keeper).await?;
    let image = keeper.image("a");
    let sidecar = "gcr.io/knative-releases/knative.dev/serving/cmd/queue:v1";
    let made = pods.create(&of_revision(&image, sidecar)).await?;
    ensure_annotation("with its sidecar", &made, K::BOUND, Some(&id))?;
    if let Some(digest) = keeper.digest("a") {
        let made = pods.create(&of_revision(&by_digest(&image, &digest)?, sidecar)).await?;
        ensure_annotation("by digest", &made, K::BOUND, Some(&id))?;
    }
    pods.finish().await
}

/// The first pod of a revision finds nothing, since no cache holds the digest that Knative resolved, or none is known to: the
/// clouds do not tell. The cache that is made for it names the digest, and the revision's next pod starts from that.
pub async fn a_knative_revision_gets_a_cache_by_digest<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let mut pods = Pods::start(&context, &keeper, &[AUTOMATIC]).await?;
    let image = keeper.image("a");
    let digest = keeper.digest("a").unwrap_or_else(|| digest_of(image.as_bytes()));
    let object = of_revision(&by_digest(&image, &digest)?, &keeper.image("b"));
    if keeper.digest("a").is_none() {
        // A cache by tag is no help where nobody knows what it holds.
        let name = context.name("pods-by-tag");
        pods.plane.create(ALIBABA, &name, json!({ "images": [image] })).await?;
        let by_tag = ALIBABA.id(&pods.plane.wait_phase(ALIBABA, &name, "Ready").await?);
        pods.wait_told(&[(AUTO, "true")], &image, K::BOUND, &by_tag).await?;
    }
    let first = pods.create(&object).await?;
    ensure_annotation("the revision's first pod", &first, K::BOUND, None)?;
    let caches = ALIBABA.api(pods.plane.client()?);
    let cache = wait::until("the revision's cache", BUILD_LIMIT, async || {
        let labelled = ListParams::default().labels("imagecache.dev/automatic=true");
        let found = caches.list(&labelled).await?.items;
        let has_digest = |images: &Value| {
            images
                .as_array()
                .into_iter()
                .flatten()
                .any(|image| is_of(image, &digest))
        };
        let of_revision = found
            .into_iter()
            .find(|object| has_digest(&object.data["spec"]["images"]));
        let Some(object) = of_revision else {
            return Ok(Err("none".to_owned()));
        };
        let phase = ALIBABA.phase(&object);
        Ok(if phase == "Ready" { Ok(object) } else { Err(phase) })
    })
    .await?;
    let id = ALIBABA.id(&cache);
    pods.wait_told_object(&object, K::BOUND, &id).await?;
    let second = pods.create(&object).await?;
    ensure_annotation("the revision's second pod", &second, K::BOUND, Some(&id))?;
    let message = pods.wait_event(&second, HIT).await?;
    ensure!(message.contains(&id), "{HIT} says {message:?}");
    let name = cache.metadata.name.context("a cache without name")?;
    pods.plane.delete(ALIBABA, &name).await?;
    pods.finish().await
}

fn is_of(image: &Value, digest: &str) -> bool {
    image
        .as_str()
        .is_some_and(|image| image.ends_with(&format!("@{digest}")))
}
