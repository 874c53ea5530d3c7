//! Caches that are made for pods: their names, their objects, which of them have to go. Pure.

use std::collections::BTreeMap;

use imagecache_core::{CacheId, FAILED_RETENTION, ImageRef, MAX_IMAGES, MAX_SIZE_GIB, PodRequest, PodWish};
use imagecache_k8s_api::{CommonStatus, ImageCacheDialect, SecretRef};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::settings::Lifetime;

/// Label of every ImageCache that was made for a pod.
pub(super) const LABEL: &str = "imagecache.dev/automatic";
/// Its value.
pub(super) const TRUE: &str = "true";
/// How the vendor's names of such caches start.
const NAME_PREFIX: &str = "auto-create-for-";
/// Size of an automatic cache in GiB, without the pod's extra storage (Alibaba, "Overview of image caches").
const SIZE_GIB: u32 = 30;

/// A build that takes longer than this will hardly end.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// The name of the cache that `request` needs, whatever the order of its images: equal names make two of them impossible.
///
/// The size is part of it, since a cache that is larger than a pod's storage is none for that pod.
pub(super) fn name(request: &PodRequest) -> String {
    let mut texts: Vec<String> = request.images.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    texts.push(size_gib(request).to_string());
    format!("{NAME_PREFIX}{}", CacheId::suffix_of(&texts.join("\n")))
}

/// Why there can be no cache for a pod's images.
pub(super) fn obstacle(request: &PodRequest) -> Option<String> {
    (request.images.len() > MAX_IMAGES).then(|| {
        let count = request.images.len();
        format!("the pod has {count} images, a cache holds at most {MAX_IMAGES}")
    })
}

/// The ImageCache for `request`, in kind `K`, with what the pod's `annotations` say of registries.
pub(super) fn object<K: ImageCacheDialect>(
    request: &PodRequest,
    annotations: &BTreeMap<String, String>,
    secrets: &[SecretRef],
) -> Result<K, serde_json::Error> {
    let mut images: Vec<String> = request.images.iter().map(ImageRef::familiar).collect();
    images.sort();
    let secrets: Vec<String> = secrets
        .iter()
        .map(|secret| format!("{}{}{}", secret.namespace, K::SECRET_SEPARATOR, secret.name))
        .collect();
    let mut spec = json!({ "images": images, "imageCacheSize": size_gib(request) });
    if let (Some(spec), false) = (spec.as_object_mut(), secrets.is_empty()) {
        spec.insert("imagePullSecrets".to_owned(), Value::from(secrets));
    }
    serde_json::from_value(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": name(request),
            "labels": { LABEL: TRUE },
            "annotations": registries::<K>(annotations),
        },
        "spec": spec,
    }))
}

/// What the build must know of the pod's registries, in the words of kind `K`.
fn registries<K: ImageCacheDialect>(annotations: &BTreeMap<String, String>) -> BTreeMap<&'static str, &str> {
    let mut found = BTreeMap::new();
    for (theirs, ours) in K::FROM_POD {
        let text = annotations.get(*theirs).map(|text| text.trim()).unwrap_or_default();
        if !text.is_empty() {
            found.entry(*ours).or_insert(text);
        }
    }
    found
}

/// Whether a cache of this size can be used by the pod at all.
pub(super) fn fits(size_gib: u32, request: &PodRequest) -> bool {
    storage_gib(request).is_none_or(|storage| size_gib <= storage)
}

/// The vendor's size: what every pod has of temporary storage, and what this one has more.
fn size_gib(request: &PodRequest) -> u32 {
    storage_gib(request).unwrap_or(SIZE_GIB).clamp(SIZE_GIB, MAX_SIZE_GIB)
}

fn storage_gib(request: &PodRequest) -> Option<u32> {
    match &request.wish {
        PodWish::Automatic(rules) => rules.storage_gib,
        PodWish::Named { .. } => None,
    }
}

/// An automatic cache that is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Existing {
    pub(super) dialect: &'static str,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) created: Timestamp,
    /// When a pod last got it.
    pub(super) matched: Option<Timestamp>,
    pub(super) standing: Standing,
}

/// What matters of how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not there yet.
    Building,
    /// It can be used.
    Ready,
    /// It failed, or it is over.
    Broken,
    /// Somebody deletes it.
    Leaving,
}

impl Existing {
    /// `None` for an object that has no identity yet.
    pub(super) fn of<K: ImageCacheDialect>(object: &K) -> Option<Self> {
        let status = object.status();
        let common = status.map(K::common);
        let standing = match status.map(K::phase).unwrap_or_default() {
            _ if object.meta().deletion_timestamp.is_some() => Standing::Leaving,
            "Ready" | "Updating" | "UpdateFailed" => Standing::Ready,
            "Failed" | "Expired" => Standing::Broken,
            _ => Standing::Building,
        };
        Some(Self {
            dialect: K::DIALECT,
            name: object.name_any(),
            uid: object.uid()?,
            created: object.creation_timestamp()?.0,
            matched: common.and_then(CommonStatus::last_matched),
            standing,
        })
    }

    fn last_used(&self) -> Timestamp {
        self.matched.unwrap_or(self.created).max(self.created)
    }

    /// Why it is not needed any more, if so.
    pub(super) fn is_over(&self, lifetime: &Lifetime, now: Timestamp) -> Option<&'static str> {
        let since = |at: Timestamp| now.duration_since(at);
        let failed = SignedDuration::try_from(FAILED_RETENTION).unwrap_or(SignedDuration::MAX);
        match (self.standing, self.matched) {
            (Standing::Leaving, _) => None,
            // Removed, so that the next pod may try again.
            (Standing::Broken, _) => (since(self.created) >= failed).then_some("its build failed a day ago"),
            (_, None) => (since(self.created) >= lifetime.never_used).then_some("no pod ever used it"),
            (_, Some(matched)) => (since(matched) >= lifetime.unused).then_some("no pod used it for long"),
        }
    }
}

/// Which caches must go so that one more fits into `limit`: broken ones first, then the least recently used. One that is
/// being built stays, or many new images at once would throw out each other's caches before any is done; but not for longer than
/// a day.
///
/// # Errors
///
/// When that is not enough.
pub(super) fn make_room(existing: &[Existing], limit: usize, now: Timestamp) -> Result<Vec<Existing>, String> {
    let staying = existing.iter().filter(|cache| cache.standing != Standing::Leaving);
    let surplus = (staying.clone().count() + 1).saturating_sub(limit);
    let is_young = |cache: &Existing| now.duration_since(cache.created) < PATIENCE;
    let mut candidates: Vec<&Existing> = staying
        .filter(|cache| cache.standing != Standing::Building || !is_young(cache))
        .collect();
    candidates.sort_by_key(|cache| {
        (
            cache.standing != Standing::Broken,
            cache.last_used(),
            cache.name.clone(),
        )
    });
    if candidates.len() < surplus {
        return Err(format!(
            "all of the {limit} automatic caches that controller.pods.automatic_limit allows are being built"
        ));
    }
    Ok(candidates.into_iter().take(surplus).cloned().collect())
}
