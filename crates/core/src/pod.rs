//! What a pod asks of image caches, and what it is told. Pure.

use std::collections::BTreeMap;

use crate::ImageRef;

/// Annotation that names a pod's cache where no cloud has one of its own for it: the local provider's form.
pub const CACHE_ID_ANNOTATION: &str = "imagecache.dev/cache-id";

/// A pod in core terms: what a dialect makes of its annotations and containers.
///
/// Where the vendors behave differently, the difference is data in here.
#[derive(Clone, Debug, PartialEq)]
pub struct PodRequest {
    /// The dialect that was spoken; a label of metrics.
    pub dialect: &'static str,
    /// Images of its containers, init containers first, each once.
    pub images: Vec<ImageRef>,
    /// Those of `images` that `need` does not count: sidecars that the pod's author never wrote.
    pub uncounted: Vec<ImageRef>,
    /// Which cache it wants.
    pub wish: PodWish,
}

impl PodRequest {
    /// The images that need counts.
    pub fn counted(&self) -> impl Iterator<Item = &ImageRef> {
        self.images.iter().filter(|image| !self.uncounted.contains(image))
    }
}

/// Which cache a pod wants.
#[derive(Clone, Debug, PartialEq)]
pub enum PodWish {
    /// This one, by the id that users see, as it was written.
    Named {
        /// The id.
        id: String,
        /// What becomes of the pod when that cache cannot be used.
        otherwise: Otherwise,
    },
    /// The one that suits best.
    Automatic(MatchRules),
}

/// What becomes of a pod whose named cache cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It is refused (Alibaba).
    Refuse,
    /// It starts and pulls its images; an event says so (Tencent).
    Pull,
}

/// How a cache is chosen automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchRules {
    /// How much of the pod a cache must hold.
    pub need: Need,
    /// Which of those that do is best.
    pub order: MatchOrder,
    /// The pod's temporary storage in GiB; a larger cache does not fit. `None` is no limit.
    pub storage_gib: Option<u32>,
}

/// Temporary storage that every pod has on Alibaba's cloud, in GiB ("Limits", 2024-10).
pub const ALIBABA_STORAGE_GIB: u32 = 30;

impl MatchRules {
    /// As Alibaba matches a pod that asks for nothing special ("Overview of image caches", 2024-11).
    pub const ALIBABA: Self = Self {
        need: Need::Any,
        order: MatchOrder::ClosestSize,
        storage_gib: Some(ALIBABA_STORAGE_GIB),
    };
    /// As Tencent matches ("Image Cache Overview").
    pub const TENCENT: Self = Self {
        need: Need::All,
        order: MatchOrder::SmallestSize,
        storage_gib: None,
    };
}

/// How much of a pod a cache must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// At least one image in any version.
    Any,
    /// At least so many images exactly.
    Exactly(u32),
    /// Every image exactly.
    All,
}

/// Which of the caches that hold enough is best; better match degree always comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOrder {
    /// Size closest to the pod's temporary storage, then newest (Alibaba, "Overview of image caches").
    ClosestSize,
    /// Smaller first, then newest (Tencent, "Image Cache Overview").
    SmallestSize,
}

/// What a provider writes into a pod so that it uses a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPatch {
    /// Annotations to set; one that is there already is replaced.
    pub annotations: BTreeMap<String, String>,
}

impl PodPatch {
    /// One annotation.
    pub fn annotation(name: &str, value: &str) -> Self {
        Self {
            annotations: [(name.to_owned(), value.to_owned())].into(),
        }
    }
}
