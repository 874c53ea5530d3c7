//! `node`: the containerd snapshotter.

use std::process::ExitCode;
use std::sync::Arc;

use imagecache_local::{LocalConfig, NAME};
use imagecache_node::{Finding, Follower, Grade, Snapshotter, Source, check, listen, serve};
use serde::Serialize;

use super::AnyError;
use super::serve::shutdown_signal;
use crate::cli::{Format, NodeArgs};
use crate::config::Loaded;
use crate::output::{columns, print, render};

pub(super) async fn node(loaded: &Loaded, format: Format, args: NodeArgs) -> Result<ExitCode, AnyError> {
    let shutdown = shutdown_signal()?;
    let sources = match args.source.as_slice() {
        [] => vec![Source::Path(loaded.table::<LocalConfig>(NAME)?.store.path)],
        given => given.to_vec(),
    };
    if args.check {
        return report(format, &check(&args.root, &args.socket, &sources));
    }
    let root = args.root;
    let snapshotter = Arc::new(tokio::task::spawn_blocking(move || Snapshotter::open(&root)).await??);
    // Whoever asks finds what the stores hold: what a cache has is not pulled because the snapshotter was just started.
    let follower = Follower::start(Arc::clone(&snapshotter), sources).await;
    let listener = listen(&args.socket)?;
    let (snapshots, images) = snapshotter.size();
    tracing::info!(socket = %args.socket.display(), snapshots, images, "serving containerd");
    let following = tokio::spawn(follower.follow(shutdown.clone()));
    serve(snapshotter, listener, shutdown).await;
    following.await?;
    Ok(ExitCode::SUCCESS)
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
