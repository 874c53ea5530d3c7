//! The decisions about pods, a row for each rule, and what is done about them. Sections are those of the vendors' fact sheets.

mod attending;
mod judging;
mod making;

use imagecache_core::matching::{MatchIndex, RegistryAliases};
use imagecache_core::{CACHE_ID_ANNOTATION, CacheId, CacheKey, CacheSpec, CacheState, Phase, PodPatch};
use imagecache_k8s_api::pod::PodView;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::judge::{Judgement, judge};

const AUTO: &str = "k8s.aliyun.com/eci-auto-imc";
const ID: &str = "k8s.aliyun.com/eci-imc-id";
const TENCENT: &str = "eks.tke.cloud.tencent.com/use-image-cache";

/// How a provider names a cache in a pod.
type Bind = fn(&CacheId) -> PodPatch;

fn local(id: &CacheId) -> PodPatch {
    PodPatch::annotation(CACHE_ID_ANNOTATION, id.as_str())
}

fn on_tencent(id: &CacheId) -> PodPatch {
    PodPatch::annotation(TENCENT, id.as_str())
}

fn on_alibaba(id: &CacheId) -> PodPatch {
    PodPatch::annotation(ID, id.as_str())
}

fn cache(images: &[&str], phase: Phase) -> CacheState {
    let spec = CacheSpec::new(images.iter().map(|image| image.parse().unwrap()).collect());
    let key = CacheKey::new(&images.join("-"), &spec);
    CacheState {
        phase,
        ..CacheState::requested(&key, &spec, Timestamp::UNIX_EPOCH)
    }
}

fn index(caches: &[CacheState]) -> MatchIndex {
    let mut index = MatchIndex::new(RegistryAliases::default());
    for cache in caches {
        index.put(cache);
    }
    index
}

fn pod(annotations: &[(&str, &str)], images: &[&str]) -> PodView {
    let containers: Vec<Value> = images
        .iter()
        .map(|image| json!({ "name": "c", "image": image }))
        .collect();
    let annotations: serde_json::Map<_, _> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    let pod = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": containers } });
    serde_json::from_value(pod).unwrap()
}

fn judged(pod: &PodView, native: Option<&str>, bind: Bind, index: &MatchIndex) -> Option<Judgement> {
    judge(pod, native, bind, |request| {
        index.decide(request, Timestamp::UNIX_EPOCH)
    })
}
