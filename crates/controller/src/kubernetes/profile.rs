//! Follows the ConfigMaps that configure a whole cluster: Alibaba's `eci-profile`, Tencent's `eks-config`, and the labels of
//! namespaces where a selector asks for them.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt as _;
use imagecache_core::{AlibabaResources, ErrorKind, EventSeverity, Failure};
use imagecache_k8s_api::alibaba::Profile;
use imagecache_k8s_api::pod::PodView;
use imagecache_k8s_api::tencent::EksConfig;
use imagecache_k8s_api::{Effects, Problem};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tracing::{info, warn};

use super::events::{Notice, publish_once};
use super::names::reason;

/// Where the vendors' components keep them ("Configure eci-profile", 2025-05; Tencent's "Annotation").
const NAMESPACE: &str = "kube-system";
const ECI_PROFILE: &str = "eci-profile";
const EKS_CONFIG: &str = "eks-config";

/// Which of the ConfigMaps are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileSources {
    /// `kube-system/eci-profile`.
    pub eci_profile: bool,
    /// `kube-system/eks-config`.
    pub eks_config: bool,
}

/// What the cluster's ConfigMaps say now.
#[derive(Debug)]
pub struct Profiles {
    sources: ProfileSources,
    profile: Followed<Profile>,
    config: Followed<EksConfig>,
    /// Labels by namespace.
    namespaces: RwLock<HashMap<String, Arc<BTreeMap<String, String>>>>,
    /// Whether all of them were read, or cannot be.
    namespaces_read: AtomicBool,
}

/// When the labels of namespaces are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    /// From the start.
    Always,
    /// From the moment that a selector asks for them.
    WhenSelected,
}

/// A value as it was last read, or why it never was; nothing before the first answer.
type Followed<T> = watch::Sender<Option<Result<Arc<T>, Failure>>>;

impl Profiles {
    /// Nothing was read yet.
    pub fn new(sources: ProfileSources) -> Self {
        Self {
            sources,
            profile: watch::Sender::new(None),
            config: watch::Sender::new(None),
            namespaces: RwLock::default(),
            namespaces_read: AtomicBool::new(false),
        }
    }

    /// Whether all that [`effects`](Self::effects) looks at was read. What we have no permission for counts as read: it was
    /// told, and waiting does not mend it.
    pub fn is_read(&self) -> bool {
        let selects = value(&self.profile).is_some_and(|profile| profile.selects_namespaces());
        (!self.sources.eci_profile || is_settled(&self.profile))
            && (!self.sources.eks_config || is_settled(&self.config))
            && (!selects || self.knows_namespaces())
    }

    /// Whether the labels of namespaces were read, or cannot be.
    pub(crate) fn knows_namespaces(&self) -> bool {
        self.namespaces_read.load(Ordering::Acquire)
    }

    /// The labels of a namespace, when they are followed and it was heard of.
    pub(crate) fn namespace(&self, name: &str) -> Option<Arc<BTreeMap<String, String>>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.get(name).cloned()
    }

    /// What to add to `pod`, whose namespace must be filled in: what it has stays.
    pub fn effects(&self, pod: &PodView) -> Effects {
        let mut effects = Effects::default();
        if let Some(profile) = value(&self.profile) {
            let namespace = self.namespace(&pod.metadata.namespace);
            effects = profile.effects(namespace.as_deref(), &pod.metadata);
        }
        if let Some(config) = value(&self.config) {
            effects.add(&config.effects(&pod.metadata), &pod.metadata);
        }
        effects
    }

    /// The network for builds whose object names none; waits for the first answer of the API server.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` or `Unavailable` when the profile could never be read.
    pub(super) async fn network(&self) -> Result<AlibabaResources, Failure> {
        if !self.sources.eci_profile {
            return Ok(AlibabaResources::default());
        }
        let mut profile = self.profile.subscribe();
        match profile.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(profile))) => Ok(profile.network().clone()),
            Ok(Some(Err(failure))) => Err(failure.clone()),
            // The sender is in `self`: this cannot be.
            Ok(None) | Err(_) => Ok(AlibabaResources::default()),
        }
    }

    /// As if this had been read.
    #[cfg(test)]
    pub(crate) fn know(&self, profile: Result<Profile, Failure>) {
        self.profile.send_replace(Some(profile.map(Arc::new)));
    }

    /// As if this had been read.
    #[cfg(test)]
    pub(crate) fn know_config(&self, config: EksConfig) {
        self.config.send_replace(Some(Ok(Arc::new(config))));
    }

    /// As if namespaces had been read, and one had these labels.
    #[cfg(test)]
    pub(crate) fn know_namespace(&self, name: &str, labels: BTreeMap<String, String>) {
        let mut namespace = PartialObjectMeta::<Namespace>::default();
        namespace.metadata.name = Some(name.to_owned());
        namespace.metadata.labels = Some(labels);
        self.namespace_changed(watcher::Event::Apply(namespace));
        self.namespace_changed(watcher::Event::InitDone);
    }

    /// Follows all of it until it is dropped.
    pub(super) async fn follow(&self, client: &Client, namespaces: Namespaces) {
        let profile = async {
            if self.sources.eci_profile {
                let parse = |data: &_| {
                    let profile = Profile::parse(data);
                    let problems = profile.problems().to_vec();
                    (profile, problems)
                };
                config_map(client, ECI_PROFILE, "controller.eci_profile", &self.profile, parse).await;
            }
        };
        let config = async {
            if self.sources.eks_config {
                let parse = |data: &_| {
                    let config = EksConfig::parse(data);
                    let problems = config.problems().to_vec();
                    (config, problems)
                };
                config_map(client, EKS_CONFIG, "controller.eks_config", &self.config, parse).await;
            }
        };
        tokio::join!(profile, config, self.follow_namespaces(client, namespaces));
        std::future::pending().await
    }

    async fn follow_namespaces(&self, client: &Client, when: Namespaces) {
        let mut profile = self.profile.subscribe();
        let asked = |state: &Option<Result<Arc<Profile>, Failure>>| matches!(state, Some(Ok(profile)) if profile.selects_namespaces());
        if when == Namespaces::WhenSelected && profile.wait_for(asked).await.is_err() {
            return;
        }
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let mut changes = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut told = false;
        while let Some(change) = changes.next().await {
            match change {
                Ok(event) => {
                    told = false;
                    self.namespace_changed(event);
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot follow namespaces, so selectors of {ECI_PROFILE} that look at their labels may match \
                             wrongly; the controller needs `list` and `watch` on namespaces"
                        );
                    }
                    if is_forbidden(&error) {
                        self.namespaces_read.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    fn namespace_changed(&self, event: watcher::Event<PartialObjectMeta<Namespace>>) {
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace) => {
                let labels = namespace.metadata.labels.unwrap_or_default();
                namespaces.insert(namespace.metadata.name.unwrap_or_default(), Arc::new(labels));
            }
            watcher::Event::Delete(namespace) => {
                namespaces.remove(&namespace.name_any());
            }
            // One that vanished meanwhile has no pods.
            watcher::Event::Init => {}
            watcher::Event::InitDone => self.namespaces_read.store(true, Ordering::Release),
        }
    }
}

/// Whether it was read, or cannot be for want of permission.
fn is_settled<T>(followed: &Followed<T>) -> bool {
    match followed.borrow().as_ref() {
        Some(Ok(_)) => true,
        Some(Err(failure)) => failure.kind == ErrorKind::PermissionDenied,
        None => false,
    }
}

fn value<T>(followed: &Followed<T>) -> Option<Arc<T>> {
    followed.borrow().as_ref()?.as_ref().ok().cloned()
}

/// Follows one ConfigMap: what is malformed in it is told in an event on it, once for each time that it changes.
async fn config_map<T: PartialEq>(
    client: &Client,
    name: &str,
    switch: &str,
    into: &Followed<T>,
    parse: impl Fn(&BTreeMap<String, String>) -> (T, Vec<Problem>),
) {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    // By name, so that permission to read this one is enough.
    let mut changes = pin!(watcher::watch_object(api, name).default_backoff());
    while let Some(change) = changes.next().await {
        match change {
            Ok(found) => {
                let (value, problems) = parse(
                    found
                        .as_ref()
                        .and_then(|map| map.data.as_ref())
                        .unwrap_or(&BTreeMap::new()),
                );
                into.send_replace(Some(Ok(Arc::new(value))));
                if let Some(map) = found {
                    info!(name, problems = problems.len(), "read a ConfigMap of the cluster");
                    report(client, &map, &problems).await;
                }
            }
            Err(error) => {
                let failure = unreadable(name, switch, &error);
                into.send_if_modified(|state| {
                    // What was read once stays; the watch catches up by itself.
                    let never_read = !matches!(state, Some(Ok(_)));
                    if never_read && state.as_ref() != Some(&Err(failure.clone())) {
                        warn!(name, "{}", failure.message);
                        *state = Some(Err(failure));
                    }
                    never_read
                });
            }
        }
    }
}

fn unreadable(name: &str, switch: &str, error: &watcher::Error) -> Failure {
    let (kind, remedy) = if is_forbidden(error) {
        let remedy = format!(", grant the controller `list` and `watch` on it or set {switch} to false");
        (ErrorKind::PermissionDenied, remedy)
    } else {
        (ErrorKind::Unavailable, String::new())
    };
    Failure {
        kind,
        message: format!(
            "ConfigMap `{NAMESPACE}/{name}` cannot be read{remedy}: {}",
            imagecache_core::chain(error)
        ),
    }
}

/// Whether a watch fails for want of permission.
pub(crate) fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

async fn report(client: &Client, map: &ConfigMap, problems: &[Problem]) {
    let mut regarding = map.object_ref(&());
    regarding.namespace = Some(NAMESPACE.to_owned());
    for problem in problems {
        let notice = Notice {
            severity: EventSeverity::Warning,
            reason: reason::INVALID_PROFILE,
            note: format!("{problem}; it is ignored, everything else applies"),
        };
        let once = format!("{} {problem}", map.resource_version().unwrap_or_default());
        // What cannot be told now is told with the next change.
        let _ = publish_once(client, &regarding, &once, &notice).await;
    }
}
