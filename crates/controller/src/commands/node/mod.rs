//! `node`: the containerd snapshotter, and what goes with it.

mod cluster;
mod ready;
mod upstream;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use imagecache_core::chain;
use imagecache_local::{LocalConfig, NAME};
use imagecache_node::{
    Finding, Follower, Grade, Host, Snapshotter, Source, check, listen, listen_metrics, listen_mirror, serve,
    serve_metrics, serve_mirror, show_image_filesystem,
};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::AnyError;
use super::serve::shutdown_signal;
use crate::cli::{Format, NodeArgs};
use crate::config::Loaded;
use crate::output::{columns, print, render};
use upstream::Registries;

pub(super) async fn node(loaded: &Loaded, format: Format, args: NodeArgs) -> Result<ExitCode, AnyError> {
    let shutdown = shutdown_signal()?;
    let local = loaded.table::<LocalConfig>(NAME);
    let sources = match args.source.as_slice() {
        [] => vec![Source::Path(local?.store.path)],
        given => given.to_vec(),
    };
    if args.check {
        let host = Host {
            root: &args.root,
            socket: &args.socket,
            sources: &sources,
            containerd_root: args.containerd_root.as_deref(),
            containerd_config: args.containerd_config.as_deref(),
        };
        return report(format, &check(&host));
    }
    // Everything that can be refused is, before containerd finds anybody.
    let mirror = match args.mirror {
        Some(address) => Some(listen_mirror(address).await?),
        None => None,
    };
    let metrics = match args.metrics {
        Some(address) => Some(listen_metrics(address).await?),
        None => None,
    };
    let client = cluster(&args).await?;
    let root = args.root.clone();
    let snapshotter = Arc::new(tokio::task::spawn_blocking(move || Snapshotter::open(&root)).await??);
    if let Some(containerd) = &args.containerd_root {
        show_image_filesystem(containerd, &args.root)?;
    }
    // Whoever asks finds what the stores hold: what a cache has is not pulled because the snapshotter was just started.
    let follower = Follower::start(Arc::clone(&snapshotter), sources).await;
    let listener = listen(&args.socket)?;
    let (snapshots, images) = snapshotter.size();
    tracing::info!(socket = %args.socket.display(), snapshots, images, "serving containerd");
    if let Some(socket) = std::env::var_os(ready::VARIABLE)
        && let Err(error) = ready::tell(&socket)
    {
        tracing::warn!(%error, "systemd is not told that the snapshotter is ready");
    }
    let wake = Arc::new(Notify::new());
    let mut beside = JoinSet::new();
    beside.spawn(follower.follow(Arc::clone(&wake), shutdown.clone()));
    if let Some(listener) = mirror {
        tracing::info!(address = %listener.local_addr()?, "serving manifests of cached images");
        let registries = Arc::new(Registries::new(local_hosts(loaded)));
        beside.spawn(serve_mirror(
            Arc::clone(&snapshotter),
            listener,
            registries,
            shutdown.clone(),
        ));
    }
    if let Some(listener) = metrics {
        tracing::info!(address = %listener.local_addr()?, "serving metrics");
        beside.spawn(serve_metrics(Arc::clone(&snapshotter), listener, shutdown.clone()));
    }
    if let Some(client) = client {
        let name = args.node_name.clone().unwrap_or_else(host_name);
        let (snapshotter, shutdown) = (Arc::clone(&snapshotter), shutdown.clone());
        beside.spawn(async move {
            let working = async {
                tokio::join!(
                    cluster::watch_caches(&client, &wake),
                    cluster::report(&client, &name, &snapshotter),
                )
            };
            tokio::select! {
                _ = working => {}
                () = shutdown => {}
            }
        });
    }
    serve(snapshotter, listener, shutdown).await;
    while let Some(ended) = beside.join_next().await {
        ended?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster that was named, or the one that this process is a pod of.
async fn cluster(args: &NodeArgs) -> Result<Option<kube::Client>, AnyError> {
    if args.no_kubernetes {
        return Ok(None);
    }
    let config = match &args.kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path)?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?
        }
        None => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(kube::Client::try_from(config)?))
}

/// How registries are reached. A node that only has volumes needs no configuration of a store.
fn local_hosts(loaded: &Loaded) -> imagecache_oci::HostsConfig {
    match loaded.table::<LocalConfig>(NAME) {
        Ok(config) => config.registry,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "registries are reached as if nothing was configured");
            imagecache_oci::HostsConfig::default()
        }
    }
}

/// What kubelet calls this machine, unless it was told otherwise.
fn host_name() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

/// One line of `--check`.
#[derive(Serialize)]
struct Row {
    subject: &'static str,
    result: &'static str,
    text: String,
}

/// Prints what was found; the exit code says whether the snapshotter would work.
fn report(format: Format, findings: &[Finding]) -> Result<ExitCode, AnyError> {
    let rows: Vec<Row> = findings
        .iter()
        .map(|finding| Row {
            subject: finding.subject,
            result: match finding.grade {
                Grade::Good => "ok",
                Grade::Fair => "note",
                Grade::Bad => "missing",
            },
            text: finding.text.clone(),
        })
        .collect();
    print(&render(format, &rows, |rows| {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| vec![row.subject.to_owned(), row.result.to_owned(), row.text.clone()])
            .collect();
        columns(&["SUBJECT", "RESULT", "WHAT"], &cells)
    })?)?;
    let bad = findings.iter().any(|finding| finding.grade == Grade::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
