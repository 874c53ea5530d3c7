//! Makes caches for pods, and removes those that no pod uses any more.

use std::collections::HashMap;
use std::time::Duration;

use imagecache_core::matching::{Decision, MatchIndex};
use imagecache_core::{Clock, Phase, PodRequest};
use imagecache_k8s_api::pod::PodView;
use imagecache_k8s_api::{ImageCacheDialect, SecretRef, alibaba, tencent};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::automatic::{self, Existing, LABEL, TRUE};
use super::judge::Judgement;
use super::{Parts, Settings};
use crate::catalog::Catalog;
use crate::kubernetes::PullSecretPolicy;

/// Pods with the same images that come within this time of one that was provided for need not even be asked about.
const RECENTLY: Duration = Duration::from_secs(60);
/// Between two looks for caches that no pod uses.
const TIDY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Makes and removes automatic caches, one at a time.
pub(super) struct Keeper {
    client: Client,
    settings: Settings,
    pull_secrets: PullSecretPolicy,
    clock: Clock,
    /// Names that were seen to, and when. Held while one is made, so that the limit is kept exactly.
    recent: Mutex<HashMap<String, Instant>>,
}

/// What was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Nothing had to be.
    Nothing,
    /// The ImageCache of this name.
    Cache(String),
}

/// Why no cache could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// There can be none.
    #[error("{0}")]
    Impossible(String),
    /// There are as many as may be.
    #[error("{0}")]
    Full(String),
    /// The API server does not let us.
    #[error("the controller may not do it, grant it `list`, `create` and `delete` on imagecaches: {0}")]
    Forbidden(String),
    /// The API server does not take it.
    #[error("{0}")]
    Refused(String),
    /// Something that may pass.
    #[error("the API server does not answer")]
    Unavailable(#[source] kube::Error),
}

impl Trouble {
    /// The stable name.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Impossible(_) => "impossible",
            Self::Full(_) => "full",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// Whether time alone can mend it.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message.clone()),
            kube::Error::Api(status) if matches!(status.code, 400 | 404 | 422) => Self::Refused(status.message.clone()),
            error => Self::Unavailable(error),
        }
    }
}

impl Keeper {
    pub(super) fn new(parts: &Parts, settings: &Settings) -> Self {
        Self {
            client: parts.client.clone(),
            settings: settings.clone(),
            pull_secrets: parts.pull_secrets.clone(),
            clock: parts.clock.clone(),
            recent: Mutex::default(),
        }
    }

    /// Makes a cache with all images of a pod that asked for any, unless there is one, or will be.
    pub(super) async fn provide(
        &self,
        judgement: &Judgement,
        pod: &PodView,
        catalog: &Catalog,
        now: Timestamp,
    ) -> Result<Made, Trouble> {
        let (Some(rules), Some(request)) = (self.settings.automatic, judgement.for_everything()) else {
            return Ok(Made::Nothing);
        };
        if rules.except == Some(request.dialect) || matches!(catalog.decide(&request, now), Decision::Use { .. }) {
            return Ok(Made::Nothing);
        }
        if let Some(obstacle) = automatic::obstacle(&request) {
            return Err(Trouble::Impossible(obstacle));
        }
        let name = automatic::name(&request);
        let mut recent = self.recent.lock().await;
        recent.retain(|_, at| at.elapsed() < RECENTLY);
        if recent.contains_key(&name) || catalog.read(|index| is_under_way(index, &request)) {
            return Ok(Made::Nothing);
        }
        let made = self.make(&name, &request, pod, rules.limit).await;
        match &made {
            Err(trouble) if trouble.is_transient() => {
                warn!(
                    error = trouble as &dyn std::error::Error,
                    name, "cannot make a cache for a pod now"
                );
            }
            other => {
                if let Err(trouble) = other {
                    warn!(name, "cannot make a cache for a pod: {trouble}");
                }
                recent.insert(name, Instant::now());
            }
        }
        made
    }

    async fn make(&self, name: &str, request: &PodRequest, pod: &PodView, limit: usize) -> Result<Made, Trouble> {
        let existing = self.existing().await?;
        if existing.iter().any(|cache| cache.name == name) {
            return Ok(Made::Nothing);
        }
        let surplus = automatic::make_room(&existing, limit, (self.clock)()).map_err(Trouble::Full)?;
        // Before anything goes: what cannot be made needs no room.
        let secrets = self.secrets(pod).await?;
        for cache in surplus {
            info!(
                name = cache.name,
                "removing the least recently used automatic cache, since there may be {limit}"
            );
            self.remove(&cache).await?;
        }
        let annotations = &pod.metadata.annotations;
        let object = |error: serde_json::Error| Trouble::Refused(error.to_string());
        match request.dialect {
            tencent::ImageCache::DIALECT => {
                let cache = automatic::object(request, annotations, &secrets).map_err(object)?;
                self.create::<tencent::ImageCache>(name, &cache).await
            }
            _ => {
                let cache = automatic::object(request, annotations, &secrets).map_err(object)?;
                self.create::<alibaba::ImageCache>(name, &cache).await
            }
        }
    }

    async fn create<K: ImageCacheDialect>(&self, name: &str, cache: &K) -> Result<Made, Trouble> {
        let api: Api<K> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), cache).await {
            Ok(_) => Ok(Made::Cache(name.to_owned())),
            // Another controller was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Made::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// The pod's pull secrets that exist and may be read: a missing one does not stop a pod, but it stops a cache.
    async fn secrets(&self, pod: &PodView) -> Result<Vec<SecretRef>, Trouble> {
        let namespace = &pod.metadata.namespace;
        if !self.pull_secrets.allows(namespace) {
            return Ok(Vec::new());
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut found = Vec::new();
        for secret in pod
            .spec
            .image_pull_secrets
            .iter()
            .filter(|secret| !secret.name.is_empty())
        {
            match api.get_metadata_opt(&secret.name).await {
                Ok(Some(_)) => found.push(SecretRef {
                    namespace: namespace.clone(),
                    name: secret.name.clone(),
                }),
                Ok(None) => debug!(%namespace, name = secret.name, "a pull secret of a pod does not exist"),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    warn!(%namespace, "cannot read pull secrets, so an automatic cache goes without them; grant `get` on secrets");
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// All automatic caches of both dialects.
    async fn existing(&self) -> Result<Vec<Existing>, kube::Error> {
        let mut all = Vec::new();
        self.existing_of::<alibaba::ImageCache>(&mut all).await?;
        self.existing_of::<tencent::ImageCache>(&mut all).await?;
        Ok(all)
    }

    async fn existing_of<K: ImageCacheDialect>(&self, all: &mut Vec<Existing>) -> Result<(), kube::Error> {
        let api: Api<K> = Api::all(self.client.clone());
        match api
            .list(&ListParams::default().labels(&format!("{LABEL}={TRUE}")))
            .await
        {
            Ok(list) => {
                all.extend(list.items.iter().filter_map(Existing::of));
                Ok(())
            }
            // The kind is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, cache: &Existing) -> Result<(), kube::Error> {
        match cache.dialect {
            tencent::ImageCache::DIALECT => self.remove_from::<tencent::ImageCache>(cache).await,
            _ => self.remove_from::<alibaba::ImageCache>(cache).await,
        }
    }

    async fn remove_from<K: ImageCacheDialect>(&self, cache: &Existing) -> Result<(), kube::Error> {
        let api: Api<K> = Api::all(self.client.clone());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(cache.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        match api.delete(&cache.name, &params).await {
            Ok(_) => Ok(()),
            // It is gone, or another one of its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes automatic caches that no pod uses any more, now and then, until it is dropped.
    pub(super) async fn tidy_up(&self) {
        let mut told = false;
        loop {
            match self.tidy_once().await {
                Ok(()) => told = false,
                Err(trouble) if !std::mem::replace(&mut told, true) => {
                    let error = &trouble as &dyn std::error::Error;
                    warn!(error, "cannot remove automatic caches that no pod uses");
                }
                Err(_) => {}
            }
            tokio::time::sleep(TIDY_INTERVAL).await;
        }
    }

    async fn tidy_once(&self) -> Result<(), Trouble> {
        let now = (self.clock)();
        for cache in self.existing().await? {
            if let Some(reason) = cache.is_over(&self.settings.lifetime, now) {
                info!(name = cache.name, reason, "removing an automatic cache");
                self.remove(&cache).await?;
            }
        }
        Ok(())
    }
}

/// Whether a cache with everything that `request` counts, and not too large for the pod, is being built, or failed not long
/// ago: a failed one is forgotten after a day.
pub(super) fn is_under_way(index: &MatchIndex, request: &PodRequest) -> bool {
    index
        .holding_all(request)
        .any(|cache| cache.phase != Phase::Ready && automatic::fits(cache.size_gib, request))
}
