//! Every annotation of both dialects in a Deployment's template, and caches that are named and cannot be used.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    ALIBABA, AUTO, AUTO_OLD, COUNT, HIT, ID, ID_OLD, INCOMPLETE, INJECT, NOT_USED, PERFECT, STORAGE, UNKNOWN, USE,
    USED, missed, with_cache,
};
use crate::context::Context;
use crate::objects::Dialect;
use crate::plane::BUILD_LIMIT;
use crate::pods::{Keeper, ensure_annotation, pod, refusal};
use crate::wait;

/// A size, in GiB, of which only a pod with extra storage can use a cache.
const LARGE: u32 = 50;

/// A Deployment, and what must become of its pod.
#[derive(Clone, Default)]
struct Row<'a> {
    name: &'a str,
    annotations: Vec<(&'a str, &'a str)>,
    labels: &'a [(&'a str, &'a str)],
    /// Tags of the images of its init containers.
    init: &'a [&'a str],
    /// Tags of the pod's images.
    images: &'a [&'a str],
    /// The cache that it is told.
    told: Option<&'a str>,
    /// The event on it.
    event: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn new(
        name: &'a str,
        annotations: &[(&'a str, &'a str)],
        images: &'a [&'a str],
        told: Option<&'a str>,
        event: Option<&'a str>,
    ) -> Self {
        Self {
            name,
            annotations: annotations.to_vec(),
            images,
            told,
            event,
            ..Self::default()
        }
    }
}

/// Every annotation of both dialects, old and new, in a Deployment's template.
pub async fn deployments_in_both_dialects<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (mut pods, id) = with_cache(&context, &keeper).await?;
    let name = context.name("pods-large");
    let spec = json!({ "images": [keeper.image("c")], "imageCacheSize": LARGE });
    pods.plane.create(ALIBABA, &name, spec).await?;
    let large = ALIBABA.id(&pods.plane.wait_phase(ALIBABA, &name, "Ready").await?);
    let stored = [(AUTO, "true"), (STORAGE, "20Gi")];
    pods.wait_told(&stored, &keeper.image("c"), K::BOUND, &large).await?;

    let (one, other, two): (&[&str], &[&str], &[&str]) = (&["a"], &["b"], &["a", "b"]);
    let (told, missed) = (Some(id.as_str()), missed::<K>());
    let auto = (AUTO, "true");
    let mut rows = vec![
        Row::new("auto", &[auto], one, told, Some(HIT)),
        Row::new("auto-old", &[(AUTO_OLD, "true")], one, told, Some(HIT)),
        Row::new("auto-old-off", &[(AUTO_OLD, "false")], one, None, None),
        Row::new("new-beats-old", &[(AUTO, "false"), (AUTO_OLD, "true")], one, None, None),
        Row::new("partial", &[auto], two, told, Some(HIT)),
        Row::new("perfect-met", &[auto, (PERFECT, "true")], one, told, Some(HIT)),
        Row::new("perfect", &[auto, (PERFECT, "true")], two, None, missed),
        Row::new("count-met", &[auto, (COUNT, "1")], two, told, Some(HIT)),
        Row::new("count-not-met", &[auto, (COUNT, "2")], two, None, missed),
        Row::new("storage", &stored, &["c"], Some(&large), Some(HIT)),
        Row::new("storage-too-small", &[auto, (PERFECT, "true")], &["c"], None, missed),
        Row::new("tencent-any-size", &[(USE, "auto")], &["c"], Some(&large), Some(USED)),
        Row::new("tencent-auto", &[(USE, "auto")], one, told, Some(USED)),
        Row::new("tencent-miss", &[(USE, "auto")], two, None, None),
        Row::new("opted-out", &[auto, (INJECT, "false")], one, None, None),
        Row::new("silent", &[], one, None, None),
        Row::new("named", &[(ID, &id)], one, told, Some(HIT)),
        Row::new("named-old", &[(ID_OLD, &id)], one, told, Some(HIT)),
        Row::new("tencent-named", &[(USE, &id)], one, told, Some(USED)),
        Row::new("tencent-incomplete", &[(USE, &id)], two, told, Some(INCOMPLETE)),
    ];
    rows.extend([
        Row {
            labels: &[(INJECT, "false")],
            ..Row::new("opted-out-by-label", &[auto], one, None, None)
        },
        Row {
            init: &["a"],
            ..Row::new("init", &[auto], other, told, Some(HIT))
        },
        Row {
            init: &["b"],
            ..Row::new("init-counts", &[auto, (PERFECT, "true")], one, None, missed)
        },
        Row {
            init: &["a"],
            ..Row::new("init-and-perfect", &[auto, (PERFECT, "true")], one, told, Some(HIT))
        },
    ]);
    let mut made = Vec::new();
    for row in &rows {
        let images: Vec<_> = row.images.iter().map(|tag| keeper.image(tag)).collect();
        let images: Vec<_> = images.iter().map(String::as_str).collect();
        let mut template = pod(&row.annotations, &images);
        if !row.init.is_empty() {
            let container = |tag: &&str| json!({ "name": format!("init-{tag}"), "image": keeper.image(tag) });
            template["spec"]["initContainers"] = row.init.iter().map(container).collect();
        }
        for (name, value) in row.labels {
            template["metadata"]["labels"][*name] = json!(value);
        }
        made.push((row, pods.deploy(row.name, &template).await?));
    }
    for (row, found) in &made {
        // A wish that is the provider's own form as well stays as it was written when nothing is told.
        let written = row.annotations.iter().find(|(name, _)| *name == K::BOUND);
        ensure_annotation(row.name, found, K::BOUND, row.told.or(written.map(|(_, value)| *value)))?;
        for (name, value) in row.annotations.iter().filter(|(name, _)| *name != K::BOUND) {
            ensure_annotation(row.name, found, name, Some(value))?;
        }
        if let Some(event) = row.event {
            let message = pods.wait_event(found, event).await.context(row.name.to_owned())?;
            ensure!(
                row.told.is_none_or(|id| message.contains(id)),
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

/// Who names a cache that cannot be used is refused in Alibaba's dialect and starts in Tencent's; of a cache that is not ours the
/// cloud itself is asked.
pub async fn named_and_not_usable<K: Keeper>(context: Context) -> Result<()> {
    let keeper = K::start(&context).await?;
    let (mut pods, _) = with_cache(&context, &keeper).await?;
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
    if K::NATIVE != Some(Dialect::Tencent) {
        let message = pods.wait_event(&tencent, NOT_USED).await?;
        ensure!(message.contains(UNKNOWN), "{NOT_USED} says {message:?}");
    }

    keeper.fail_next_build();
    let name = context.name("pods-failed");
    let spec = json!({ "images": [keeper.image("missing")] });
    pods.plane.create(ALIBABA, &name, spec).await?;
    let failed = ALIBABA.id(&pods.plane.wait_phase(ALIBABA, &name, "Failed").await?);
    ensure!(!failed.is_empty(), "a cache that failed has no id");
    // The catalog follows a moment later.
    wait::until("the refusal of a pod whose cache failed", BUILD_LIMIT, async || {
        let asked = pods.dry_run(&pod(&[(ID, &failed)], &[&image])).await;
        Ok(match asked {
            Ok(_) => Err("it was accepted".to_owned()),
            Err(error) => {
                let message = format!("{error:#}");
                let right = message.contains(&failed) && message.contains("not Ready");
                if right { Ok(()) } else { Err(message) }
            }
        })
    })
    .await?;
    let old = refusal(pods.create(&pod(&[(ID_OLD, &failed)], &[&image])).await)?;
    ensure!(old.contains(&failed), "the refusal says {old:?}");
    let tencent = pods.create(&pod(&[(USE, &failed)], &[&image])).await?;
    ensure_annotation("it starts", &tencent, USE, Some(&failed))?;
    let message = pods.wait_event(&tencent, NOT_USED).await?;
    ensure!(message.contains(&failed), "{NOT_USED} says {message:?}");
    pods.finish().await
}
