//! `create`: one cache straight through the provider.

use std::ffi::OsString;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use imagecache_core::{
    BuildOptions, CacheKey, CacheProvider, CacheSpec, CacheState, ErrorKind, Phase, RegistryCredential, Retention,
};
use jiff::Timestamp;

use super::AnyError;
use crate::cli::{CreateArgs, Format};
use crate::config::Loaded;
use crate::output::{self, note, print, render};
use crate::progress::{BuildView, REFRESH};
use crate::registry;

/// Owner part of the keys that the command line makes: the same command finds the same cache.
const OWNER: &str = "cli";
/// How often the parent of a build in the background looks whether the build has begun.
const START_POLL: Duration = Duration::from_millis(20);
/// How long a provider that says "not yet" is asked again: longer than any cloud's lists lag.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pull secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("pull secret file `{path}`")]
struct PullSecretError {
    path: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The build in the background ended before it began.
#[derive(Debug, thiserror::Error)]
#[error("the build could not be started in the background: {0}")]
struct StartError(String);

pub(super) async fn create(loaded: &Loaded, format: Format, args: CreateArgs) -> Result<ExitCode, AnyError> {
    let wait = args.wait;
    let spec = spec(args)?;
    let owner = spec
        .display_name
        .as_deref()
        .map_or_else(|| OWNER.to_owned(), |name| format!("{OWNER}/{name}"));
    let key = CacheKey::new(&owner, &spec);
    let provider = registry::open(loaded, None).await?.provider;
    if wait {
        let state = build(provider.as_ref(), &key, &spec).await?;
        show(format, &state)?;
        return Ok(exit_code(&state));
    }
    let state = if provider.capabilities().builds_in_process {
        spec.validate(provider.name())?;
        build_elsewhere(provider.as_ref(), &key).await?
    } else {
        ensure(provider.as_ref(), &key, &spec).await?
    };
    show(format, &state)?;
    Ok(ExitCode::SUCCESS)
}

fn spec(args: CreateArgs) -> Result<CacheSpec, AnyError> {
    let mut credentials = Vec::new();
    for file in &args.pull_secret {
        credentials.extend(read_pull_secret(file)?);
    }
    Ok(CacheSpec {
        display_name: args.name,
        images: args.images,
        size_gib: args.size_gib,
        retention: Retention::from_days(args.retention_days),
        platform: args.platform,
        credentials,
        plain_http_registries: args.plain_http,
        insecure_registries: args.insecure,
        options: BuildOptions::default(),
    })
}

fn read_pull_secret(path: &Path) -> Result<Vec<RegistryCredential>, PullSecretError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| PullSecretError {
        path: path.display().to_string(),
        source,
    };
    let text = std::fs::read(path).map_err(|error| failed(error.into()))?;
    registry::parse_pull_secret(&text).map_err(failed)
}

/// Asks for the cache. A provider may have to look for what an earlier process made before it makes one, and this process is
/// always a new one: where it says when to ask again, it is asked again.
async fn ensure(provider: &dyn CacheProvider, key: &CacheKey, spec: &CacheSpec) -> imagecache_core::Result<CacheState> {
    let start = Instant::now();
    loop {
        match provider.ensure(key, spec).await {
            Err(error) if error.kind() == ErrorKind::Conflict && start.elapsed() < PATIENCE => {
                let Some(wait) = error.retry_after() else {
                    return Err(error);
                };
                note(&format!("{}; asking again in {wait:?}", error.message()));
                tokio::time::sleep(wait).await;
            }
            result => return result,
        }
    }
}

/// Builds in this process, showing progress, until the build ends one way or the other.
async fn build(provider: &dyn CacheProvider, key: &CacheKey, spec: &CacheSpec) -> Result<CacheState, AnyError> {
    let mut view = BuildView::for_stderr();
    let mut state = ensure(provider, key, spec).await?;
    loop {
        view.update(&state);
        if !matches!(state.phase, Phase::Pending | Phase::Creating | Phase::Unknown(_)) {
            view.finish(&state);
            return Ok(state);
        }
        tokio::time::sleep(REFRESH).await;
        state = provider
            .get(key)
            .await?
            .ok_or_else(|| format!("cache `{}` was deleted while it was being built", state.id))?;
    }
}

/// Starts `create --wait` as a process of its own, and returns once the cache is known.
async fn build_elsewhere(provider: &dyn CacheProvider, key: &CacheKey) -> Result<CacheState, AnyError> {
    if let Some(state) = provider.get(key).await?
        && !matches!(state.phase, Phase::Stalled(_))
    {
        return Ok(state);
    }
    let mut said = tempfile::tempfile()?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).chain([OsString::from("--wait")]).collect();
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        // Its own process group: Ctrl-C in the terminal is not meant for it.
        .process_group(0)
        .spawn()?;
    loop {
        if let Some(state) = provider.get(key).await?
            && !matches!(state.phase, Phase::Stalled(_))
        {
            note(&format!(
                "building in the background (process {}); `imagecache get {}` shows it",
                child.id(),
                state.id
            ));
            return Ok(state);
        }
        if child.try_wait()?.is_some() {
            // It may have ended between the two looks, with the cache made or failed.
            if let Some(state) = provider.get(key).await? {
                return Ok(state);
            }
            let mut text = String::new();
            said.rewind()?;
            said.read_to_string(&mut text)?;
            return Err(StartError(text.trim().to_owned()).into());
        }
        tokio::time::sleep(START_POLL).await;
    }
}

fn show(format: Format, state: &CacheState) -> Result<(), AnyError> {
    let text = match format {
        // The id alone, for scripts.
        Format::Table => format!("{}\n", state.id),
        _ => render(format, state, |state| output::cache(state, Timestamp::now()))?,
    };
    print(&text)?;
    Ok(())
}

fn exit_code(state: &CacheState) -> ExitCode {
    match (&state.phase, state.phase.failure()) {
        (Phase::Stalled(_), Some(failure)) => {
            note(&format!(
                "imagecache: {} is not ready: {}; the same command resumes it",
                state.id, failure.message
            ));
            ExitCode::FAILURE
        }
        (_, Some(failure)) => {
            note(&format!("imagecache: {} failed: {}", state.id, failure.message));
            ExitCode::FAILURE
        }
        (_, None) => ExitCode::SUCCESS,
    }
}
