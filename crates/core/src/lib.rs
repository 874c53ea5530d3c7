//! The domain of `imagecache`: image references, cache specs and states, the provider contract and what to do next.
//!
//! No I/O, no clock, no Kubernetes. Every other crate depends on this one; this one depends on none of them.

mod build_options;
mod cache_spec;
mod cache_state;
mod clock;
pub mod cost;
mod credential;
mod digest;
pub mod duration_text;
mod error;
mod image_ref;
mod key;
pub mod matching;
mod plan;
mod platform;
mod pod;
mod provider;
mod retention;
mod secret;
mod text_form;

pub use build_options::{AcrInstance, AddressCharge, AlibabaResources, BuildOptions, PublicAddress, TencentResources};
pub use cache_spec::{CacheSpec, DEFAULT_SIZE_GIB, MAX_IMAGES, MAX_SIZE_GIB, MIN_SIZE_GIB};
pub use cache_state::{
    CacheEvent, CacheState, CachedImage, EventSeverity, Failure, LayerProgress, LayerStage, MAX_EVENTS, Phase, Progress,
};
pub use clock::{Clock, system_clock};
pub use credential::RegistryCredential;
pub use digest::{Digest, DigestAlgorithm, DigestError};
pub use error::{BoxError, Error, ErrorKind, Result, chain, with_causes};
pub use image_ref::{ImageRef, ImageRefError};
pub use key::{CacheId, CacheKey, IdError};
pub use plan::{Action, Desired, Recorded, plan};
pub use platform::{Platform, PlatformError};
pub use pod::{
    ALIBABA_STORAGE_GIB, CACHE_ID_ANNOTATION, MatchOrder, MatchRules, Need, Otherwise, PodPatch, PodRequest, PodWish,
};
#[cfg(feature = "mock")]
pub use provider::MockCacheProvider;
pub use provider::{CacheProvider, Capabilities};
pub use retention::{FAILED_RETENTION, MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, Retention};
pub use secret::Secret;
