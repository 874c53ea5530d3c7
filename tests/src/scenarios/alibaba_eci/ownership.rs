//! What is ours is cleaned up, what is not is never touched.

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};

use super::spec;
use crate::context::Context;
use crate::eci::Cloud;
use crate::objects::Dialect;
use crate::plane::Plane;

const ALIBABA: Dialect = Dialect::Alibaba;

pub async fn orphans_are_removed_and_others_stay(context: Context) -> Result<()> {
    let cloud = Cloud::start().await;
    let mut plane = cloud.plane(&context).await?;
    let kept = context.name("eci-kept");
    plane.create(ALIBABA, &kept, spec("registry.example.com/app:1")).await?;
    plane.wait_phase(ALIBABA, &kept, "Ready").await?;
    let by_hand = cloud.fake.add_foreign_cache("made-by-hand");
    // The same name as one of ours, without our mark.
    let ours = cloud.fake.caches().into_iter().find(|cache| cache.id != by_hand);
    let namesake = cloud
        .fake
        .add_foreign_cache(&ours.map(|cache| cache.name).unwrap_or_default());
    let on_the_command_line = cloud
        .binary(&context)
        .run(&["create", "registry.example.com/app:1"])
        .await?;
    // As one whose object went without its finalizer: marked by this cluster, and no object has such a UID.
    let cluster = cluster_uid(&plane).await?;
    let orphan = cloud
        .binary(&context)
        .with_environment([("IMAGECACHE_ALIBABA_ECI__OWNER", cluster)]);
    let orphan = orphan
        .run(&["create", "--name", "orphan", "registry.example.com/app:2"])
        .await?;

    plane.kill().await?;
    plane.launch().await?;
    cloud.wait_caches(4).await?;
    let left: Vec<String> = cloud.fake.caches().into_iter().map(|cache| cache.id).collect();
    ensure!(!left.contains(&orphan), "the orphan is still billed");
    for id in [&by_hand, &namesake, &on_the_command_line] {
        ensure!(left.contains(id), "{id} is not the controller's and was removed");
    }
    let id = ALIBABA.id(&plane.get(ALIBABA, &kept).await?);
    ensure!(left.contains(&id), "the cache of an object that is there was removed");
    plane.delete(ALIBABA, &kept).await?;
    cloud.wait_caches(3).await?;
    plane.finish().await
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
