//! `mount`, `umount`, `export`, `verify`: what a cache holds, on this machine.

use std::process::ExitCode;
use std::sync::Arc;

use imagecache_blocks::{CacheRecord, DirectoryStore, Published, SnapshotManifest, Store as _, image_stack, mount};
use imagecache_core::{CacheState, Digest, ImageRef, Phase};
use imagecache_local::LocalProvider;
use serde::Serialize;

use super::{AnyError, find};
use crate::cli::{ExportArgs, Format, MountArgs, UmountArgs, VerifyArgs};
use crate::config::Loaded;
use crate::output::{bytes, columns, note, print, render};
use crate::registry;

/// The chosen provider keeps nothing on this machine.
#[derive(Debug, thiserror::Error)]
#[error("provider `{0}` keeps no volumes on this machine; this command works with provider `local`")]
struct NotHere(&'static str);

async fn local(loaded: &Loaded) -> Result<Arc<LocalProvider>, AnyError> {
    let opened = registry::open(loaded, None).await?;
    let name = opened.provider.name();
    opened.local.ok_or_else(|| NotHere(name).into())
}

pub(super) async fn mount(loaded: &Loaded, args: MountArgs) -> Result<(), AnyError> {
    let local = local(loaded).await?;
    let state = find(local.as_ref(), &args.id).await?;
    let record = ready_record(&local, &state).await?;
    let store = local.store().clone();
    let manifest = args
        .image
        .as_ref()
        .map(|image| manifest_of(&state, image))
        .transpose()?;
    tokio::task::spawn_blocking(move || match manifest {
        Some(manifest) => mount::mount_image(&store, &image_stack(&store, &manifest)?, &args.dir),
        None => mount::mount_volume(&store, &read_manifest(&store, &record)?, &args.dir),
    })
    .await??;
    Ok(())
}

pub(super) async fn umount(args: UmountArgs) -> Result<(), AnyError> {
    tokio::task::spawn_blocking(move || mount::unmount(&args.dir)).await??;
    Ok(())
}

pub(super) async fn export(loaded: &Loaded, args: ExportArgs) -> Result<(), AnyError> {
    let local = local(loaded).await?;
    let record = ready_record(&local, &find(local.as_ref(), &args.id).await?).await?;
    let size = tokio::task::spawn_blocking(move || {
        let manifest = read_manifest(local.store(), &record)?;
        write_whole(&local, &manifest, record.published.as_ref(), &args.file)
    })
    .await??;
    note(&format!("{} exported, {}", args.id, bytes(size)));
    Ok(())
}

/// What `verify` found, for `-o json`.
#[derive(Serialize)]
struct Report {
    files: usize,
    bytes: u64,
    damage: Vec<DamageRow>,
}

#[derive(Serialize)]
struct DamageRow {
    path: String,
    reason: String,
    caches: Vec<String>,
}

pub(super) async fn verify(loaded: &Loaded, format: Format, args: VerifyArgs) -> Result<ExitCode, AnyError> {
    let local = local(loaded).await?;
    let found = tokio::task::spawn_blocking(move || local.verify(args.id.as_ref())).await??;
    let report = Report {
        files: found.files,
        bytes: found.bytes,
        damage: found
            .damage
            .into_iter()
            .map(|damage| DamageRow {
                path: damage.path.display().to_string(),
                reason: damage.reason,
                caches: damage.caches.iter().map(ToString::to_string).collect(),
            })
            .collect(),
    };
    print(&render(format, &report, verify_table)?)?;
    Ok(if report.damage.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn verify_table(report: &Report) -> String {
    let checked = format!("{} files, {} read", report.files, bytes(report.bytes));
    if report.damage.is_empty() {
        return format!("{checked}: every digest is right\n");
    }
    let rows: Vec<Vec<String>> = report
        .damage
        .iter()
        .map(|damage| vec![damage.path.clone(), damage.reason.clone(), damage.caches.join(",")])
        .collect();
    format!(
        "{checked}: {} damaged\n{}",
        rows.len(),
        columns(&["FILE", "PROBLEM", "CACHES"], &rows)
    )
}

/// The record of a Ready cache, which names its snapshot.
async fn ready_record(local: &Arc<LocalProvider>, state: &CacheState) -> Result<CacheRecord, AnyError> {
    let not_ready = || {
        format!(
            "cache `{}` is {}, not Ready: there is no snapshot yet",
            state.id, state.phase
        )
    };
    if state.phase != Phase::Ready {
        return Err(not_ready().into());
    }
    let (store, id) = (local.store().clone(), state.id.clone());
    let record = tokio::task::spawn_blocking(move || store.record(&id)).await??;
    Ok(record.filter(CacheRecord::is_ready).ok_or_else(not_ready)?)
}

/// The manifest under which the cache holds `image`, by tag or by digest.
fn manifest_of(state: &CacheState, image: &ImageRef) -> Result<Digest, AnyError> {
    let found = state.resolved.iter().find(|found| found.answers(image));
    let found = found.map(|found| found.manifest.clone());
    found.ok_or_else(|| {
        let held: Vec<String> = state.images.iter().map(ToString::to_string).collect();
        format!(
            "cache `{}` does not hold image `{image}`; it holds {}",
            state.id,
            held.join(", ")
        )
        .into()
    })
}

fn read_manifest(store: &DirectoryStore, record: &CacheRecord) -> imagecache_blocks::Result<SnapshotManifest> {
    let missing = |what: String| imagecache_blocks::Error::Missing {
        what,
        store: store.root().to_owned(),
    };
    let id = record.snapshot.as_ref();
    let id = id.ok_or_else(|| missing(format!("the snapshot of cache {}", record.state.id)))?;
    store.snapshot(id)?.ok_or_else(|| missing(format!("snapshot {id}")))
}

/// Exports under a temporary name beside `target`, so that a file of that name is whole. A device is written in place.
/// Returns the size in bytes.
fn write_whole(
    local: &LocalProvider,
    manifest: &SnapshotManifest,
    published: Option<&Published>,
    target: &std::path::Path,
) -> imagecache_blocks::Result<u64> {
    use std::os::unix::fs::FileTypeExt as _;

    let (store, snapshots) = (local.store(), local.snapshots().as_ref());
    let failed = |operation, error| imagecache_blocks::Error::io(operation, target, error);
    if target.metadata().is_ok_and(|meta| meta.file_type().is_block_device()) {
        let device = std::fs::File::options()
            .write(true)
            .open(target)
            .map_err(|error| failed("open", error))?;
        return imagecache_blocks::export(snapshots, store, manifest, published, &device, target);
    }
    let dir = target
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(std::path::Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".imagecache-export-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(|error| failed("write", error))?;
    let size = imagecache_blocks::export(snapshots, store, manifest, published, file.as_file(), target)?;
    file.persist(target).map_err(|error| failed("write", error.error))?;
    Ok(size)
}
