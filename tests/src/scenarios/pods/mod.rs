//! Pods get their caches: in both dialects, with every provider, on a real API server.

mod deployments;
mod knative;
mod random;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::context::Context;
use crate::objects::Dialect;
use crate::plane::BUILD_LIMIT;
use crate::pods::{Keeper, Local, NO_NODE, Pods, annotation, ensure_annotation, pod};
use crate::wait;

pub use deployments::{deployments_in_both_dialects, named_and_not_usable};
pub use knative::{a_knative_pod_is_told, a_knative_revision_gets_a_cache_by_digest};
pub use random::random_pods_lose_nothing;

const ALIBABA: Dialect = Dialect::Alibaba;

const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const AUTO_OLD: &str = "k8s.aliyun.com/eci-image-cache";
const ID: &str = "k8s.aliyun.com/eci-imc-id";
const ID_OLD: &str = "k8s.aliyun.com/eci-image-snapshot-id";
const PERFECT: &str = "k8s.aliyun.com/imc-perfect-match";
const COUNT: &str = "k8s.aliyun.com/imc-match-count-request";
const STORAGE: &str = "k8s.aliyun.com/eci-extra-ephemeral-storage";
const USE: &str = "eks.tke.cloud.tencent.com/use-image-cache";
const INJECT: &str = "imagecache.dev/inject";

const HIT: &str = "SuccessfulHitImageCache";
const MISSED: &str = "ImageCacheMissed";
const USED: &str = "ImageCacheUsed";
const NOT_FOUND: &str = "ImageCacheNotFound";
const NOT_USED: &str = "ImageCacheNotUsed";
const INCOMPLETE: &str = "ImageCacheIncomplete";
const CREATED: &str = "ImageCacheAutoCreated";
/// What no cache is called.
const UNKNOWN: &str = "imc-00000000000000000000";

/// Keeps the controller from making caches by itself.
const NOT_AUTOMATIC: (&str, &str) = ("IMAGECACHE_CONTROLLER__PODS__AUTOMATIC", "false");
const AUTOMATIC: (&str, &str) = ("IMAGECACHE_CONTROLLER__PODS__AUTOMATIC", "true");

/// Pods of the acceptance's storm.
const STORM: usize = 500;

/// The event on a pod of Alibaba's dialect that finds no cache: its own cloud tells that by itself.
fn missed<K: Keeper>() -> Option<&'static str> {
    (K::NATIVE != Some(ALIBABA)).then_some(MISSED)
}

/// A control plane with one cache that holds the image `a`; its id.
async fn with_cache<K: Keeper>(context: &Context, keeper: &K) -> Result<(Pods, String)> {
    let mut pods = Pods::start(context, keeper, &[NOT_AUTOMATIC]).await?;
    let name = context.name("pods-a");
    let spec = json!({ "images": [keeper.image("a")] });
    pods.plane.create(ALIBABA, &name, spec).await?;
    let id = ALIBABA.id(&pods.plane.wait_phase(ALIBABA, &name, "Ready").await?);
    pods.wait_told(&[(AUTO, "true")], &keeper.image("a"), K::BOUND, &id)
        .await?;
    Ok((pods, id))
}

/// With the controller dead, pods are made as ever, and told what they missed when it is back.
pub async fn pods_are_made_without_the_controller<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (mut pods, id) = with_cache(&context, &keeper).await?;
    let image = keeper.image("a");
    pods.plane.kill().await?;
    let mut orphans = Vec::new();
    for (name, annotation, event) in [
        ("orphan", (AUTO, "true"), missed::<K>()),
        // Its own cloud reads the old name itself.
        (
            "orphan-named",
            (ID_OLD, id.as_str()),
            Some(missed::<K>().unwrap_or(HIT)),
        ),
        ("orphan-unknown", (ID, UNKNOWN), missed::<K>().map(|_| NOT_FOUND)),
    ] {
        let orphan = pods.deploy(name, &pod(&[annotation], &[&image])).await?;
        ensure_annotation("nobody told it", &orphan, annotation.0, Some(annotation.1))?;
        if annotation.0 != K::BOUND {
            ensure_annotation("nobody told it", &orphan, K::BOUND, None)?;
        }
        orphans.push((orphan, event));
    }
    pods.plane.launch().await?;
    pods.wait_told(&[(AUTO, "true")], &image, K::BOUND, &id).await?;
    for (orphan, event) in &orphans {
        if let Some(event) = event {
            let message = pods.wait_event(orphan, event).await;
            ensure!(message.is_ok(), "the pod that came meanwhile: {message:?}");
        }
    }
    pods.finish().await
}

/// With the controller dead, a pod that asks for a cache runs on a node.
pub async fn a_pod_runs_without_the_controller(context: Context) -> Result<()> {
    let keeper = Local::start(&context).await?;
    let (mut pods, _) = with_cache(&context, &keeper).await?;
    pods.plane.kill().await?;
    let image = format!("{}/base:12", context.registry()?);
    let mut object = pod(&[(AUTO, "true"), (USE, "auto")], &[&image]);
    object["spec"]["containers"][0]["command"] = json!(["sleep", "600"]);
    if let Some(selector) = object["spec"]["nodeSelector"].as_object_mut() {
        selector.remove(NO_NODE.0);
    }
    // The pod's own network is no concern of this scenario.
    object["spec"]["hostNetwork"] = json!(true);
    object["spec"]["automountServiceAccountToken"] = json!(false);
    let made = pods.create(&object).await?;
    let name = made.metadata.name.context("a pod without name")?;
    let api = pods.api();
    wait::until("the pod to run", BUILD_LIMIT, async || {
        let status = api.get(&name).await?.status.unwrap_or_default();
        let phase = status.phase.clone().unwrap_or_default();
        Ok(if phase == "Running" {
            Ok(())
        } else {
            Err(format!("{phase} {:?}", status.container_statuses))
        })
    })
    .await?;
    let at_once = DeleteParams::default().grace_period(0);
    let _ = api.delete(&name, &at_once).await?;
    pods.plane.launch().await?;
    pods.finish().await
}

/// Five hundred pods of one new image make one cache, and the next pod uses it.
pub async fn a_storm_of_pods_makes_one_cache<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let pods = Pods::start(&context, &keeper, &[AUTOMATIC]).await?;
    let image = keeper.image("b");
    let api = pods.api();
    let object: Pod = serde_json::from_value(pod(&[(AUTO, "true")], &[&image]))?;
    let params = PostParams::default();
    try_join_all((0..STORM).map(|_| api.create(&params, &object))).await?;
    let caches = ALIBABA.api(pods.plane.client()?);
    let automatic = async || {
        let labelled = ListParams::default().labels("imagecache.dev/automatic=true");
        let mut found = caches.list(&labelled).await?.items;
        // Other pods of the cluster may have theirs.
        found.retain(|object| object.data["spec"]["images"] == json!([image]));
        anyhow::Ok(found)
    };
    let name = wait::until("the automatic cache", BUILD_LIMIT, async || {
        let found = automatic().await?;
        let ready = found.iter().find(|object| ALIBABA.phase(object) == "Ready");
        let name = ready.and_then(|object| object.metadata.name.clone());
        Ok(name.ok_or_else(|| format!("{} automatic caches, none Ready", found.len())))
    })
    .await?;
    let id = ALIBABA.id(&pods.plane.get(ALIBABA, &name).await?);
    pods.wait_told(&[(AUTO, "true")], &image, K::BOUND, &id).await?;
    // Which outcome each has depends on how soon the cache was Ready.
    wait::until("every pod to be looked after", BUILD_LIMIT, async || {
        let metrics = pods.plane.metrics().await?;
        let outcomes = metrics
            .lines()
            .filter(|line| line.starts_with("imagecache_pod_matches_total{dialect=\"alibaba\""));
        let counts = outcomes.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        let seen: usize = counts.sum();
        // Pods that an earlier scenario left may be among them.
        Ok(if seen >= STORM { Ok(()) } else { Err(format!("{seen}")) })
    })
    .await?;
    let events: Api<Event> = Api::namespaced(pods.plane.client()?.clone(), &pods.namespace);
    wait::until("the event about the creation", BUILD_LIMIT, async || {
        let created = ListParams::default().fields(&format!("reason={CREATED}"));
        let told = events.list(&created).await?.items.len();
        ensure!(told <= 1, "{told} pods were told that a cache was made for them");
        Ok(if told == 1 { Ok(()) } else { Err("none".to_owned()) })
    })
    .await?;
    let left = automatic().await?.len();
    ensure!(left == 1, "{left} automatic caches for one image");
    if let Some(made) = keeper.made(&image) {
        ensure!(made == 1, "the cloud has {made} caches of the image");
    }
    pods.plane.delete(ALIBABA, &name).await?;
    pods.finish().await
}

/// What the cluster's profile adds reaches pods, changes at once, and a selector that is none is told where it stands.
pub async fn the_profile_reaches_pods<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, id) = with_cache(&context, &keeper).await?;
    let image = keeper.image("a");
    let maps: Api<ConfigMap> = Api::namespaced(pods.plane.client()?.clone(), "kube-system");
    let selectors = |value: &str| {
        json!([
            { "name": "all-ml", "objectSelector": { "matchLabels": { "team": "ml" } },
              "effect": { "annotations": { AUTO: "true", "note": value }, "labels": { "pool": "eci" } } },
            { "name": "later", "objectSelector": { "matchLabels": { "team": "ml" } },
              "effect": { "annotations": { "note": "later" } } },
            { "name": "", "objectSelector": "nonsense" },
        ])
        .to_string()
    };
    let profile = |value: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "eci-profile" },
            "data": { "selectors": selectors(value) },
        })
    };
    let created = maps
        .create(&PostParams::default(), &serde_json::from_value(profile("first"))?)
        .await?;
    let outcome = async {
        let mut labelled = pod(&[], &[&image]);
        labelled["metadata"]["labels"] = json!({ "team": "ml" });
        told_note(&pods, &labelled, "first").await?;
        let made = pods.create(&labelled).await?;
        ensure_annotation("the effect counts as the pod's own", &made, K::BOUND, Some(&id))?;
        let labels = made.metadata.labels.clone().unwrap_or_default();
        ensure!(
            labels.get("pool").map(String::as_str) == Some("eci"),
            "labels are {labels:?}"
        );
        let other = pods.create(&pod(&[], &[&image])).await?;
        ensure_annotation("no label, no effect", &other, "note", None)?;
        let mut own = labelled.clone();
        own["metadata"]["annotations"] = json!({ "note": "own" });
        ensure_annotation("the pod wins", &pods.create(&own).await?, "note", Some("own"))?;

        maps.patch(
            "eci-profile",
            &PatchParams::default(),
            &Patch::Merge(&profile("second")),
        )
        .await?;
        told_note(&pods, &labelled, "second").await?;
        let uid = created.metadata.uid.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(pods.plane.client()?.clone(), "kube-system");
        wait::until("the event about the malformed selector", BUILD_LIMIT, async || {
            let list = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
            let found = events.list(&list).await?.items.pop();
            Ok(found.map(drop).ok_or_else(|| "no event".to_owned()))
        })
        .await
    }
    .await;
    let _ = maps.delete("eci-profile", &DeleteParams::default()).await?;
    outcome?;
    pods.finish().await
}

async fn told_note(pods: &Pods, object: &Value, wanted: &str) -> Result<()> {
    wait::until(&format!("the profile's note {wanted}"), BUILD_LIMIT, async || {
        let found = annotation(&pods.dry_run(object).await?, "note");
        Ok(if found.as_deref() == Some(wanted) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        })
    })
    .await
}

/// The scenarios for one provider, under names that begin with its module's.
macro_rules! of_provider {
    ($keeper:ty, $provider:literal, $module:literal) => {
        $crate::scenarios::pods::of_provider!(@list $keeper, $provider, $module;
            deployments_in_both_dialects;
            named_and_not_usable;
            random_pods_lose_nothing;
            pods_are_made_without_the_controller;
            a_storm_of_pods_makes_one_cache;
            a_knative_pod_is_told;
            a_knative_revision_gets_a_cache_by_digest;
            the_profile_reaches_pods;
        )
    };
    (@list $keeper:ty, $provider:literal, $module:literal; $($name:ident;)*) => {
        &[$(Scenario {
            provider: $provider,
            name: concat!($module, "::", stringify!($name)),
            needs: &[CLUSTER],
            run: |context| Box::pin(pods::$name::<$keeper>(context)),
        }),*]
    };
}
pub(crate) use of_provider;
