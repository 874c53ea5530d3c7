//! What a pod asks of image caches: both dialects' annotations, old and new names, and which of them counts.

mod view;

use std::collections::BTreeMap;

use imagecache_core::{CACHE_ID_ANNOTATION, CacheId, ImageRef, Otherwise, PodRequest, PodWish};

use crate::annotations::{Annotations, field};
use crate::{InvalidSpec, alibaba, tencent};

pub use view::{ContainerView, LocalSecret, PodMetadata, PodSpecView, PodStatusView, PodView};

/// Annotation or label that, set to `false`, keeps a pod as it is: nothing is looked up and nothing written.
pub const INJECT: &str = "imagecache.dev/inject";
/// The dialect of a pod that names its cache in no vendor's form.
pub const OWN_DIALECT: &str = "imagecache";

/// Label of every pod that Knative makes for a revision of a Service.
const KNATIVE_REVISION: &str = "serving.knative.dev/revision";
/// The container that Knative adds to them.
const KNATIVE_SIDECAR: &str = "queue-proxy";

/// Something in a pod that cannot be understood: where it stands, what it says, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InvalidPod(#[from] InvalidSpec);

impl InvalidPod {
    /// Path of the field, for example `metadata.annotations[k8s.aliyun.com/eci-imc-id]`.
    pub fn field(&self) -> &str {
        self.0.field()
    }
}

/// What `pod` asks for; `None` when it asks for nothing or opts out.
///
/// A named cache beats automatic matching, also across dialects; then `native`, the dialect of the configured provider's
/// cloud, beats the other one; then Alibaba beats Tencent. What comes after the first that applies is not read, so a mistake
/// in it does no harm.
///
/// # Errors
///
/// [`InvalidPod`] names the annotation or the image that cannot be understood.
pub fn request(pod: &PodView, native: Option<&str>) -> Result<Option<PodRequest>, InvalidPod> {
    if opts_out(pod) {
        return Ok(None);
    }
    let Some((dialect, wish)) = wish(&Annotations(&pod.metadata.annotations), native)? else {
        return Ok(None);
    };
    let (images, uncounted) = images(pod)?;
    if images.is_empty() && matches!(wish, PodWish::Automatic(_)) {
        return Ok(None);
    }
    Ok(Some(PodRequest {
        dialect,
        images,
        uncounted,
        wish,
    }))
}

/// The id of the cache that a pod names in any form: either dialect's, old or new, or ours.
pub fn named(annotations: &BTreeMap<String, String>) -> Option<&str> {
    let annotations = Annotations(annotations);
    let ours = || annotations.text(CACHE_ID_ANNOTATION);
    alibaba::pod::named(&annotations)
        .or_else(|| tencent::pod::named(&annotations))
        .or_else(ours)
}

/// Whether `pod` is to stay as it is, by [`INJECT`].
pub fn opts_out(pod: &PodView) -> bool {
    [&pod.metadata.annotations, &pod.metadata.labels]
        .into_iter()
        .filter_map(|texts| Annotations(texts).text(INJECT))
        .any(|text| text.eq_ignore_ascii_case("false"))
}

/// Whether these labels of a namespace keep its pods as they are: as the webhook's `namespaceSelector` reads them.
pub fn namespace_opts_out(labels: &BTreeMap<String, String>) -> bool {
    labels.get(INJECT).is_some_and(|text| text == "false")
}

/// The dialect that counts, and what it wants.
fn wish(annotations: &Annotations<'_>, native: Option<&str>) -> Result<Option<(&'static str, PodWish)>, InvalidSpec> {
    let mut dialects = [Dialect::Alibaba, Dialect::Tencent];
    if native == Some(Dialect::Tencent.name()) {
        dialects.reverse();
    }
    for dialect in dialects {
        if let Some(wish) = dialect.named(annotations)? {
            return Ok(Some((dialect.name(), wish)));
        }
    }
    // Our own annotation last: where a pod has a vendor's as well, ours is what admission made of that one.
    if let Some(id) = annotations.text(CACHE_ID_ANNOTATION) {
        let spoken = dialects.into_iter().find(|dialect| {
            let automatic = dialect.automatic(annotations);
            automatic.is_ok_and(|wish| wish.is_some())
        });
        return Ok(Some((spoken.map_or(OWN_DIALECT, Dialect::name), own_wish(id)?)));
    }
    for dialect in dialects {
        if let Some(wish) = dialect.automatic(annotations)? {
            return Ok(Some((dialect.name(), wish)));
        }
    }
    Ok(None)
}

#[derive(Clone, Copy)]
enum Dialect {
    Alibaba,
    Tencent,
}

impl Dialect {
    fn name(self) -> &'static str {
        match self {
            Self::Alibaba => <alibaba::ImageCache as crate::ImageCacheDialect>::DIALECT,
            Self::Tencent => <tencent::ImageCache as crate::ImageCacheDialect>::DIALECT,
        }
    }

    fn named(self, annotations: &Annotations<'_>) -> Result<Option<PodWish>, InvalidSpec> {
        match self {
            Self::Alibaba => alibaba::pod::named_wish(annotations),
            Self::Tencent => tencent::pod::named_wish(annotations),
        }
    }

    fn automatic(self, annotations: &Annotations<'_>) -> Result<Option<PodWish>, InvalidSpec> {
        match self {
            Self::Alibaba => alibaba::pod::automatic_wish(annotations),
            Self::Tencent => Ok(tencent::pod::automatic_wish(annotations)),
        }
    }
}

/// A cache named in our own form: mostly admission wrote it, so the pod never fails for it.
fn own_wish(id: &str) -> Result<PodWish, InvalidSpec> {
    match CacheId::from_vendor(id) {
        Ok(_) => Ok(PodWish::Named {
            id: id.to_owned(),
            otherwise: Otherwise::Pull,
        }),
        Err(error) => Err(InvalidSpec::new(field(CACHE_ID_ANNOTATION), error)),
    }
}

/// The pod's images, each once, init containers first; and those of them that are Knative's own.
fn images(pod: &PodView) -> Result<(Vec<ImageRef>, Vec<ImageRef>), InvalidSpec> {
    let knative = pod.metadata.labels.contains_key(KNATIVE_REVISION);
    let (mut counted, mut sidecars) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for (list, containers) in [
        ("initContainers", &pod.spec.init_containers),
        ("containers", &pod.spec.containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            // A pod without an image in it waits for somebody who fills it in.
            if container.image.is_empty() {
                continue;
            }
            let image = ImageRef::parse(&container.image)
                .map_err(|error| InvalidSpec::new(format!("spec.{list}[{index}].image"), error))?;
            let group = if knative && container.name == KNATIVE_SIDECAR {
                &mut sidecars
            } else {
                &mut counted
            };
            group.push(image.clone());
            if !all.contains(&image) {
                all.push(image);
            }
        }
    }
    sidecars.retain(|image| !counted.contains(image));
    Ok((all, sidecars))
}
