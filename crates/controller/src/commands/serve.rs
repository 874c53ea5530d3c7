//! `controller` and `standalone`: the reconciler against a cluster, or against an API server of its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::Shared;
use imagecache_apiserver::{ApiServer, Data, Options, Token};
use imagecache_local::LocalProvider;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::AnyError;
use crate::cli::StandaloneArgs;
use crate::config::Loaded;
use crate::kubernetes;
use crate::output::note;
use crate::registry::{self, Opened};

/// Holds the bearer token that `standalone` asks for; the only secret that the command line takes, so never a flag.
const TOKEN_VARIABLE: &str = "IMAGECACHE_STANDALONE_TOKEN";
/// File in the data directory for kubectl.
const KUBECONFIG: &str = "kubeconfig";
/// Directory of the API's state in the data directory.
const API_STATE: &str = "api";

pub(super) async fn controller(loaded: &Loaded) -> Result<(), AnyError> {
    let client = kube::Client::try_default().await.map_err(|error| {
        format!(
            "no cluster to talk to, set KUBECONFIG or run in a pod: {}",
            imagecache_core::chain(&error)
        )
    })?;
    let shutdown = shutdown_signal()?;
    let health = loaded.config.controller.health_address()?;
    let webhook = loaded.config.controller.webhook.settings()?;
    let Some(opened) = open(loaded, &client, shutdown.clone()).await? else {
        return Ok(());
    };
    let settings = kubernetes::Settings {
        webhook,
        ..settings(loaded, &opened)?
    };
    kubernetes::run_with_health(client, opened.provider, settings, health, shutdown).await?;
    Ok(())
}

pub(super) async fn standalone(loaded: &Loaded, args: &StandaloneArgs) -> Result<(), AnyError> {
    let options = Options {
        data: Data::Dir(args.data.join(API_STATE)),
        token: std::env::var(TOKEN_VARIABLE)
            .ok()
            .filter(|token| !token.is_empty())
            .map(Token::new),
        crds: imagecache_k8s_api::crds(),
    };
    let server = tokio::task::spawn_blocking(|| ApiServer::open(options)).await??;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        format!(
            "cannot listen on {}: {error}; choose another address with --listen",
            args.listen
        )
    })?;
    let address = listener.local_addr()?;
    let shutdown = shutdown_signal()?;
    let serving = tokio::spawn({
        let (server, shutdown) = (server.clone(), shutdown.clone());
        async move { server.serve(listener, shutdown).await }
    });
    let kubeconfig = server.kubeconfig(address);
    let client = client(&kubeconfig).await?;
    write_private(&args.data.join(KUBECONFIG), &kubeconfig)?;
    let Some(opened) = open(loaded, &client, shutdown.clone()).await? else {
        return Ok(());
    };
    announce(args, address);
    let settings = settings(loaded, &opened)?;
    let reconciling = kubernetes::run(client, opened.provider, settings, shutdown);
    tokio::select! {
        // The API only ends by itself when something is wrong: say so instead of reconciling against nothing.
        served = serving => served??,
        reconciled = reconciling => reconciled?,
    }
    Ok(())
}

/// Opens the provider as this cluster; `None` when the process is asked to end first.
async fn open(
    loaded: &Loaded,
    client: &kube::Client,
    shutdown: impl Future<Output = ()>,
) -> Result<Option<Opened>, AnyError> {
    let opening = async {
        let owner = match registry::marks_owner(loaded) {
            true => Some(kubernetes::cluster_owner(client).await?),
            false => None,
        };
        registry::open(loaded, owner).await
    };
    let opened: Opened = tokio::select! {
        opened = opening => opened?,
        () = shutdown => return Ok(None),
    };
    if let Some(local) = &opened.local {
        tokio::spawn(LocalProvider::tend(Arc::downgrade(local)));
    }
    Ok(Some(opened))
}

fn settings(loaded: &Loaded, opened: &Opened) -> Result<kubernetes::Settings, AnyError> {
    Ok(kubernetes::Settings {
        cost: loaded.config.cost.hints(opened.tariff)?,
        registry_aliases: loaded.config.matching.registry_aliases.clone(),
        ..loaded.config.controller.settings(opened)
    })
}

fn announce(args: &StandaloneArgs, address: SocketAddr) {
    note(&format!(
        "serving on http://{address}; use: kubectl --kubeconfig {}",
        args.data.join(KUBECONFIG).display()
    ));
}

async fn client(kubeconfig: &str) -> Result<kube::Client, AnyError> {
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(parsed, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, content: &str) -> Result<(), AnyError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // A named temporary file is made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Resolves at the first SIGTERM or Ctrl-C, for everyone who waits.
pub(super) fn shutdown_signal() -> std::io::Result<Shared<impl Future<Output = ()> + Send + use<>>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(first.boxed().shared())
}
