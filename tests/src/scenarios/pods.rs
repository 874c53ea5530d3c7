//! Pods get their caches: in both dialects, with every provider, on a real API server.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::context::Context;
use crate::objects::Dialect;
use crate::plane::BUILD_LIMIT;
use crate::pods::{Keeper, Pods, annotation, ensure_annotation, pod, refusal};
use crate::wait;

const ALIBABA: Dialect = Dialect::Alibaba;

const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const AUTO_OLD: &str = "k8s.aliyun.com/eci-image-cache";
const ID: &str = "k8s.aliyun.com/eci-imc-id";
const ID_OLD: &str = "k8s.aliyun.com/eci-image-snapshot-id";
const PERFECT: &str = "k8s.aliyun.com/imc-perfect-match";
const COUNT: &str = "k8s.aliyun.com/imc-match-count-request";
const USE: &str = "eks.tke.cloud.tencent.com/use-image-cache";
const INJECT: &str = "imagecache.dev/inject";

const HIT: &str = "SuccessfulHitImageCache";
const MISSED: &str = "ImageCacheMissed";
const USED: &str = "ImageCacheUsed";
/// What no cache is called.
const UNKNOWN: &str = "imc-00000000000000000000";

/// Keeps the controller from making caches by itself.
const NOT_AUTOMATIC: (&str, &str) = ("IMAGECACHE_CONTROLLER__PODS__AUTOMATIC", "false");
const AUTOMATIC: (&str, &str) = ("IMAGECACHE_CONTROLLER__PODS__AUTOMATIC", "true");

/// Pods of the acceptance's storm.
const STORM: usize = 500;
/// Random pods for the API server.
const RANDOM_PODS: u64 = 150;

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

/// A Deployment, and what must become of its pod.
struct Row<'a> {
    name: &'a str,
    annotations: Vec<(&'a str, &'a str)>,
    /// Tags of the pod's images.
    images: &'a [&'a str],
    /// Whether it is told the cache.
    told: bool,
    /// The event on it.
    event: Option<&'a str>,
}

/// Every annotation of both dialects, old and new, in a Deployment's template.
pub async fn deployments_in_both_dialects<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, id) = with_cache(&context, &keeper).await?;
    let row = |name, annotations: &[(&'static str, &'static str)], images, told, event| Row {
        name,
        annotations: annotations.to_vec(),
        images,
        told,
        event,
    };
    let one: &[&str] = &["a"];
    let two: &[&str] = &["a", "b"];
    let mut rows = vec![
        row("auto", &[(AUTO, "true")], one, true, Some(HIT)),
        row("auto-old", &[(AUTO_OLD, "true")], one, true, Some(HIT)),
        row(
            "new-beats-old",
            &[(AUTO, "false"), (AUTO_OLD, "true")],
            one,
            false,
            None,
        ),
        row("partial", &[(AUTO, "true")], two, true, Some(HIT)),
        row(
            "perfect",
            &[(AUTO, "true"), (PERFECT, "true")],
            two,
            false,
            Some(MISSED),
        ),
        row("count-met", &[(AUTO, "true"), (COUNT, "1")], two, true, Some(HIT)),
        row(
            "count-not-met",
            &[(AUTO, "true"), (COUNT, "2")],
            two,
            false,
            Some(MISSED),
        ),
        row("tencent-auto", &[(USE, "auto")], one, true, Some(USED)),
        row("tencent-miss", &[(USE, "auto")], two, false, None),
        row("opted-out", &[(AUTO, "true"), (INJECT, "false")], one, false, None),
        row("silent", &[], one, false, None),
    ];
    for (name, key, event) in [
        ("named", ID, HIT),
        ("named-old", ID_OLD, HIT),
        ("tencent-named", USE, USED),
    ] {
        rows.push(Row {
            name,
            annotations: vec![(key, &id)],
            images: one,
            told: true,
            event: Some(event),
        });
    }
    let mut made = Vec::new();
    for row in &rows {
        let images: Vec<_> = row.images.iter().map(|tag| keeper.image(tag)).collect();
        let images: Vec<_> = images.iter().map(String::as_str).collect();
        let found = pods.deploy(row.name, &pod(&row.annotations, &images)).await?;
        made.push((row, found));
    }
    for (row, found) in &made {
        // A wish that is the provider's own form as well stays as it was written when nothing is told.
        let written = row.annotations.iter().find(|(name, _)| *name == K::BOUND);
        let untold = written.map(|(_, value)| *value);
        ensure_annotation(row.name, found, K::BOUND, if row.told { Some(&id) } else { untold })?;
        for (name, value) in row.annotations.iter().filter(|(name, _)| *name != K::BOUND) {
            ensure_annotation(row.name, found, name, Some(value))?;
        }
        if let Some(event) = row.event {
            let message = pods.wait_event(found, event).await.context(row.name.to_owned())?;
            ensure!(
                !row.told || message.contains(&id),
                "{}: {event} says {message:?}",
                row.name
            );
        }
    }
    // All others have been told by now, so what these have not was not forgotten but meant.
    for (row, found) in made.iter().filter(|(row, _)| row.event.is_none()) {
        let events = pods.events(found).await?;
        ensure!(events.is_empty(), "{}: {events:?}", row.name);
    }
    pods.finish().await
}

/// Who names a cache that cannot be used is refused in Alibaba's dialect and starts in Tencent's; the cache's own cloud is
/// asked itself.
pub async fn named_and_not_usable<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, _) = with_cache(&context, &keeper).await?;
    let image = keeper.image("a");
    let alibaba = pods.create(&pod(&[(ID, UNKNOWN)], &[&image])).await;
    if K::NATIVE == Some(ALIBABA) {
        ensure_annotation("the cloud judges", &alibaba?, ID, Some(UNKNOWN))?;
    } else {
        let message = refusal(alibaba)?;
        ensure!(message.contains(UNKNOWN), "the refusal says {message:?}");
    }
    let tencent = pods.create(&pod(&[(USE, UNKNOWN)], &[&image])).await?;
    ensure_annotation("it starts", &tencent, USE, Some(UNKNOWN))?;
    pods.finish().await
}

/// Whatever a pod says, the API server takes the patch, and nothing of the pod is lost.
pub async fn random_pods_lose_nothing<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, id) = with_cache(&context, &keeper).await?;
    let mut random = Random(0x5eed);
    let mut told = 0;
    for number in 0..RANDOM_PODS {
        let annotations = random.annotations(&id);
        let mut object = pod(&[], &[&keeper.image("a")]);
        if number % 3 > 0 || !annotations.is_empty() {
            object["metadata"]["annotations"] = json!(annotations);
        } else if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("annotations");
        }
        let made = match pods.dry_run(&object).await {
            Ok(made) => made,
            // A cache that is named and does not exist.
            Err(error) if format!("{error:#}").contains("imagecache") => continue,
            Err(error) => return Err(error.context(format!("{object}"))),
        };
        let after = made.metadata.annotations.clone().unwrap_or_default();
        told += usize::from(after.get(K::BOUND) == Some(&id));
        for (name, value) in annotations.iter().filter(|(name, _)| name.as_str() != K::BOUND) {
            ensure!(
                after.get(name) == Some(value),
                "{name} became {:?}: {object}",
                after.get(name)
            );
        }
        let added: Vec<_> = after.keys().filter(|name| !annotations.contains_key(*name)).collect();
        ensure!(
            added.iter().all(|name| name.as_str() == K::BOUND),
            "it was given {added:?}: {object}"
        );
    }
    ensure!(told > 0, "no pod was told a cache, so nothing was tried");
    pods.finish().await
}

/// Annotations of every kind, also nonsense.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        // xorshift: the same pods in every run.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.next(from.len() as u64)).unwrap_or_default();
        from.get(index).copied().unwrap_or_default()
    }

    fn annotations(&mut self, id: &str) -> BTreeMap<String, String> {
        let names = [
            AUTO,
            AUTO_OLD,
            ID,
            ID_OLD,
            PERFECT,
            COUNT,
            USE,
            "example.com/a_b.c-1",
            "plain",
        ];
        let values = ["true", "false", "auto", "", "1", "-1", "imc-", "é\"\\\n", id, UNKNOWN];
        (0..self.next(5))
            .map(|_| (self.pick(&names).to_owned(), self.pick(&values).to_owned()))
            .collect()
    }
}

/// With the controller dead, pods are made as ever.
pub async fn pods_are_made_without_the_controller<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (mut pods, id) = with_cache(&context, &keeper).await?;
    let image = keeper.image("a");
    pods.plane.kill().await?;
    let orphan = pods.deploy("orphan", &pod(&[(AUTO, "true")], &[&image])).await?;
    ensure_annotation("nobody told it", &orphan, AUTO, Some("true"))?;
    pods.plane.launch().await?;
    pods.wait_told(&[(AUTO, "true")], &image, K::BOUND, &id).await?;
    let message = pods.wait_event(&orphan, MISSED).await;
    ensure!(message.is_ok(), "the pod that came meanwhile: {message:?}");
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
    // Every pod of the storm was looked at when each has its event.
    wait::until("every pod to have its event", BUILD_LIMIT, async || {
        let events: Api<Event> = Api::namespaced(pods.plane.client()?.clone(), &pods.namespace);
        let mut seen = 0;
        // Which one depends on how soon the cache was Ready.
        for reason in [MISSED, HIT] {
            let outcomes = ListParams::default().fields(&format!("reason={reason}"));
            seen += events.list(&outcomes).await?.items.len();
        }
        Ok(if seen == STORM { Ok(()) } else { Err(format!("{seen}")) })
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

/// Pods as Knative makes them: the tag became a digest, and a sidecar came with them.
pub async fn a_knative_pod_is_told<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (pods, id) = with_cache(&context, &keeper).await?;
    let image = keeper.image("a");
    let mut object = pod(
        &[(AUTO, "true"), (PERFECT, "true")],
        &[&image, "gcr.io/knative-releases/knative.dev/serving/cmd/queue:v1"],
    );
    object["metadata"]["labels"] = json!({ "serving.knative.dev/revision": "web-00001" });
    object["spec"]["containers"][0]["name"] = json!("user-container");
    object["spec"]["containers"][1]["name"] = json!("queue-proxy");
    let made = pods.create(&object).await?;
    ensure_annotation("with its sidecar", &made, K::BOUND, Some(&id))?;
    if let Some(digest) = keeper.digest("a") {
        let (repository, _) = image.rsplit_once(':').context("an image without tag")?;
        object["spec"]["containers"][0]["image"] = json!(format!("{repository}@{digest}"));
        let made = pods.create(&object).await?;
        ensure_annotation("by digest", &made, K::BOUND, Some(&id))?;
    }
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
