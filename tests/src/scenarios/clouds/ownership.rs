//! What is ours is cleaned up, what is not is never touched.

use anyhow::{Context as _, Result, ensure};
use imagecache_fakes::{CacheView, Foreign};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;

use super::spec;
use crate::cloud::{Cloud, Vendor};
use crate::context::Context;
use crate::plane::Plane;

/// Two clusters and a command line in one account: each has its own caches, and only an own one without object goes.
pub async fn orphans_are_removed_and_others_stay<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let kept = cloud.name(&context, "kept");
    plane
        .create(V::DIALECT, &kept, spec("registry.example.com/app:1"))
        .await?;
    plane.wait_phase(V::DIALECT, &kept, "Ready").await?;
    let on_the_command_line = made_for(&cloud, &context, "").await?;
    let other_clusters = made_for(&cloud, &context, "another-cluster").await?;
    // As one whose object went without its finalizer: marked by this cluster, and no object has such a UID.
    let orphan = made_for(&cloud, &context, &cluster_uid(&plane).await?).await?;

    plane.kill().await?;
    plane.launch().await?;
    cloud.wait_caches(3).await?;
    let left: Vec<String> = cloud.fake.caches().into_iter().map(|cache| cache.id).collect();
    ensure!(!left.contains(&orphan), "the orphan is still billed");
    for id in [&other_clusters, &on_the_command_line] {
        ensure!(left.contains(id), "{id} is not this controller's and was removed");
    }
    let id = V::DIALECT.id(&plane.get(V::DIALECT, &kept).await?);
    ensure!(left.contains(&id), "the cache of an object that is there was removed");
    plane.delete(V::DIALECT, &kept).await?;
    cloud.wait_caches(2).await?;
    plane.finish().await
}

/// Caches without our mark, whatever their names: after creation, an edit, restarts and a deletion they are as they were.
pub async fn what_others_made_is_never_touched<V: Vendor>(context: Context) -> Result<()> {
    let cloud = Cloud::<V>::start().await;
    let mut plane = cloud.plane(&context).await?;
    let name = cloud.name(&context, "ours");
    plane
        .create(V::DIALECT, &name, spec("registry.example.com/app:1"))
        .await?;
    plane.wait_phase(V::DIALECT, &name, "Ready").await?;
    let ours = cloud.only_cache()?;
    let untagged = |name| Foreign {
        name,
        ..Foreign::default()
    };
    let automatic = |name| Foreign {
        automatic: true,
        ..untagged(name)
    };
    let foreign = [
        Foreign::named("made-by-hand"),
        Foreign::named(&ours.name),
        Foreign::named(""),
        untagged("made-by-hand"),
        untagged(&ours.name),
        untagged(""),
        automatic("auto-create-for-2zeinstance"),
        automatic(""),
    ];
    for one in &foreign {
        cloud.fake.add_foreign(one);
    }
    let without = |id: &str| -> Vec<CacheView> {
        let caches = cloud.fake.caches().into_iter();
        caches.filter(|cache| cache.id != id).collect()
    };
    let before = without(&ours.id);
    ensure!(before.len() == foreign.len(), "{before:?}");

    plane.kill().await?;
    plane.launch().await?;
    let edit = json!({ "spec": { "images": ["registry.example.com/app:2"] } });
    let api = V::DIALECT.api(plane.client()?);
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&edit)).await?;
    cloud.wait_caches(foreign.len() + 2).await?;
    cloud.wait_caches(foreign.len() + 1).await?;
    plane.delete(V::DIALECT, &name).await?;
    cloud.wait_caches(foreign.len()).await?;
    plane.kill().await?;
    plane.launch().await?;
    let binary = cloud.binary(&context)?;
    for cache in &before {
        let message = binary.fails(&["delete", &cache.id]).await?;
        ensure!(message.contains(&cache.id), "delete of somebody else's: {message}");
    }
    let listed = binary.json(&["list"]).await?.to_string();
    for cache in &before {
        ensure!(!listed.contains(&cache.id), "somebody else's cache is listed: {listed}");
    }
    plane.finish().await?;
    let after = without(&ours.id);
    ensure!(after == before, "{before:?} became {after:?}");
    cloud.made(2)
}

/// A cache that the command line makes for an owner; its id.
async fn made_for<V: Vendor>(cloud: &Cloud<V>, context: &Context, owner: &str) -> Result<String> {
    let binary = cloud.binary(context)?.with_environment([(V::OWNER, owner.to_owned())]);
    let create = ["create", "--name", "by-hand", "registry.example.com/app:2"];
    binary.run(&create).await
}

/// What a controller marks its caches with.
async fn cluster_uid(plane: &Plane) -> Result<String> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
    let namespaces: Api<DynamicObject> = Api::all_with(plane.client()?.clone(), &resource);
    namespaces
        .get("kube-system")
        .await?
        .metadata
        .uid
        .context("kube-system has no UID")
}
