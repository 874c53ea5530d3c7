//! Keeps the webhook's certificate: makes and renews it, shares it with other replicas, and has the API server trust it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use imagecache_core::{BoxError, Clock, chain};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tracing::{info, warn};

use super::certificate::{self, Material, RENEW_BEFORE};
use super::registration::{self, Found, Registration};
use super::secret;
use super::served::Served;

/// Between two looks when nothing happens: a certificate has weeks left when it is time to renew it.
const CALM_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Before a new certificate is shown that the API server was just told to trust: it takes the news from its own watch.
const SETTLE_INTERVAL: Duration = Duration::from_secs(5);
/// After something failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Between two looks at least: whoever keeps undoing what we do must not keep us busy.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps one certificate.
pub(super) struct Keeper {
    pub(super) client: Client,
    /// Where the Secret is.
    pub(super) namespace: String,
    /// Names under which the API server reaches us.
    pub(super) names: Vec<String>,
    pub(super) registration: Registration,
    pub(super) served: Arc<Served>,
    pub(super) clock: Clock,
    /// What is shown now.
    pub(super) shown: Option<Material>,
}

impl Keeper {
    /// Works until it is dropped.
    pub(super) async fn keep(mut self) {
        let secrets = self.secrets();
        let configurations = self.configurations();
        // What happened matters less than that something did: each look reads both objects.
        let news = futures::stream::select(
            watcher::watch_object(secrets, secret::NAME)
                .default_backoff()
                .map(|_| ()),
            watcher::watch_object(configurations, registration::NAME)
                .default_backoff()
                .map(|_| ()),
        );
        let mut news = std::pin::pin!(news);
        let mut told = None;
        loop {
            let (wait, problem) = match self.look().await {
                Ok(Look { again, missing }) => {
                    let missing = missing.then(|| {
                        let name = registration::NAME;
                        format!("MutatingWebhookConfiguration `{name}` is not installed, apply config/deploy/base/webhook.yaml")
                    });
                    (again, missing)
                }
                Err(error) => {
                    if is_forbidden(&error) {
                        self.served.forbidden();
                    }
                    (RETRY_INTERVAL, Some(chain(error.as_ref())))
                }
            };
            if problem != told
                && let Some(problem) = &problem
            {
                warn!(
                    problem,
                    "the webhook is not ready for pods, they start without it meanwhile"
                );
            }
            told = problem;
            tokio::time::sleep(SHORTEST_INTERVAL).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Some(()) = news.next() => {}
            }
        }
    }

    /// Looks once at everything and corrects it.
    pub(super) async fn look(&mut self) -> Result<Look, BoxError> {
        let now = (self.clock)();
        let secrets = self.secrets();
        let kept = secrets.get_opt(secret::NAME).await?;
        let known = kept.as_ref().and_then(secret::material);
        let good = known.filter(|known| known.is_good(&self.names, now + RENEW_BEFORE));
        let Some(material) = good else {
            // Of a broken or deleted Secret nothing is left but what we show.
            let before = kept.as_ref().and_then(secret::material);
            let before = before
                .filter(|known| known.certified().is_ok())
                .or_else(|| self.shown.clone());
            let made = certificate::make(&self.names, now, before.as_ref())?;
            if secret::keep(&secrets, kept, &made).await? {
                info!(
                    secret = secret::NAME,
                    namespace = self.namespace,
                    "made a certificate for the webhook"
                );
            }
            // Read it again before it is used: of two replicas that made one, only one's is kept.
            return Ok(Look {
                again: Duration::ZERO,
                missing: false,
            });
        };
        let found = registration::ensure(&self.configurations(), &self.registration, &material.authorities).await?;
        if found == Found::Corrected {
            info!(
                configuration = registration::NAME,
                "the API server was told whom to trust"
            );
        }
        let again = if self.is_shown(&material) {
            CALM_INTERVAL
        } else if found == Found::Corrected && self.shown_is_good() {
            SETTLE_INTERVAL
        } else {
            self.served.set(material.certified()?);
            info!("the webhook shows its certificate from now on");
            self.shown = Some(material);
            CALM_INTERVAL
        };
        Ok(Look {
            again,
            missing: found == Found::Missing,
        })
    }

    fn is_shown(&self, material: &Material) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.chain == material.chain)
    }

    fn shown_is_good(&self) -> bool {
        let now = (self.clock)();
        self.shown.as_ref().is_some_and(|shown| shown.is_good(&self.names, now))
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }
}

/// Whether the API server does not let us.
fn is_forbidden(error: &BoxError) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 403)
}

/// What a look came to.
#[derive(Debug)]
pub(super) struct Look {
    /// When to look again at the latest.
    pub(super) again: Duration,
    /// Whether the webhook is not installed.
    pub(super) missing: bool,
}
