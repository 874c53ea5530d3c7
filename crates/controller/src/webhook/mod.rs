//! The mutating admission webhook: a pod that is created gets the cache that suits it.
//!
//! ```text
//! API server ──TLS──> server ──> admission: PodView -> request -> Catalog::decide -> bind -> JSON patch
//!                       ^
//!                     served <── keeper: Secret, MutatingWebhookConfiguration   (or files of cert-manager)
//! ```
//!
//! It can never stop a cluster: the configuration ignores a webhook that does not answer, system namespaces are left out,
//! and whatever goes wrong here lets the pod through as it is.

mod admission;
mod certificate;
mod files;
mod keeper;
mod patch;
mod registration;
mod review;
mod secret;
mod served;
mod server;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use imagecache_core::{BoxError, CacheProvider, Clock};
use kube::Client;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use admission::SYSTEM_NAMESPACE;
pub use settings::{CertificateSource, Settings, WebhookConfig};

use crate::catalog::Catalog;
use crate::kubernetes::{Metrics, Profiles};
use admission::Admission;
use keeper::Keeper;
use registration::Registration;
use served::Served;

/// Name of the Service in the manifests.
const SERVICE: &str = "imagecache-webhook";
/// Threads of the webhook alone. Reconciling many objects at once keeps the controller's own threads busy; pods do not
/// wait for them.
const THREADS: usize = 2;
const THREAD_NAME: &str = "admission";

/// What the webhook works with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) provider: Arc<dyn CacheProvider>,
    pub(crate) native_dialect: Option<&'static str>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
}

/// A webhook that listens already.
pub(crate) struct Webhook {
    listener: std::net::TcpListener,
    address: SocketAddr,
    certificate: CertificateSource,
    served: Arc<Served>,
}

impl Webhook {
    /// Takes its address.
    ///
    /// # Errors
    ///
    /// When it is taken, or not ours.
    pub(crate) fn bind(settings: Settings) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            certificate: settings.certificate,
            served: Arc::default(),
        })
    }

    /// Our own namespace, if we run in one: the controller's pods must start without it.
    pub(crate) fn own_namespace(&self, client: &Client) -> Option<String> {
        let outside = matches!(self.certificate, CertificateSource::Url(_));
        (!outside).then(|| client.default_namespace().to_owned())
    }

    /// Says from when on it can be talked to, or never will for want of permission.
    pub(crate) fn readiness(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let served = Arc::clone(&self.served);
        move || served.is_settled()
    }

    /// Answers reviews until `stop` is cancelled, then finishes those under way. Stops answering when it is dropped.
    pub(crate) async fn run(self, parts: Parts, stop: &CancellationToken) {
        let namespace = parts.client.default_namespace().to_owned();
        let own_namespace = self.own_namespace(&parts.client);
        let served = self.served;
        let admission = Admission {
            catalog: parts.catalog,
            profiles: parts.profiles,
            provider: parts.provider,
            native: parts.native_dialect,
            own_namespace,
            metrics: parts.metrics,
            clock: Arc::clone(&parts.clock),
        };
        // Also when this future is dropped.
        let stop = stop.child_token();
        let _stopped = stop.clone().drop_guard();
        let serving = match thread(self.listener, Arc::clone(&served), admission, stop.clone()) {
            Ok(serving) => serving,
            Err(error) => {
                warn!(
                    error = error.as_ref() as &dyn std::error::Error,
                    "the webhook cannot start"
                );
                return stop.cancelled().await;
            }
        };
        info!(address = %self.address, "the webhook listens for pods");
        let keeper = |names, registration| Keeper {
            client: parts.client,
            namespace: namespace.clone(),
            names,
            registration,
            served: Arc::clone(&served),
            clock: parts.clock,
            shown: None,
        };
        let keeping = async {
            match self.certificate {
                CertificateSource::Service => {
                    let names = vec![format!("{SERVICE}.{namespace}.svc")];
                    keeper(names, Registration::Installed).keep().await;
                }
                CertificateSource::Url(url) => {
                    let (host, url) = settings::completed(&url, self.address.port());
                    keeper(vec![host], Registration::AtUrl(url)).keep().await;
                }
                CertificateSource::Dir(dir) => files::follow(&dir, &served).await,
            }
        };
        tokio::select! {
            () = keeping => {}
            // An error means that the thread is gone.
            _ = serving => {}
        }
    }
}

/// Serves on threads of its own; the receiver hears when it has ended.
fn thread(
    listener: std::net::TcpListener,
    served: Arc<Served>,
    admission: Admission,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<()>, BoxError> {
    let tls = Arc::new(served::tls_config(served)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name(THREAD_NAME)
        .enable_all()
        .build()?;
    let (ended, ending) = oneshot::channel();
    std::thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                server::serve(listener, tls, Arc::new(admission), stop).await;
                Ok::<_, std::io::Error>(())
            });
            if let Err(error) = served {
                warn!(%error, "the webhook cannot listen");
            }
            // Nobody may wait for it any more.
            let _ = ended.send(());
        })?;
    Ok(ending)
}
