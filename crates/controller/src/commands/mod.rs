//! One module per group of commands; each command is one function.

mod cache;
mod cost;
mod create;
mod matching;
mod node;
mod serve;
mod show;
mod volume;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use figment::value::Dict;
use imagecache_core::{CacheId, CacheProvider, CacheState};

use crate::cli::{Cli, Command};
use crate::config::{Loaded, store_default};
use crate::{registry, telemetry};

/// Any error of a command; reported as one line with its causes.
pub type AnyError = Box<dyn Error>;

/// Directory below `standalone --data` where the local provider's store lives.
const STANDALONE_STORE: &str = "store";

/// Runs the command.
///
/// # Errors
///
/// Whatever stopped the command, to be reported as one line.
pub async fn run(cli: Cli) -> Result<ExitCode, AnyError> {
    let defaults = match &cli.command {
        Command::Standalone(args) => store_default(std::path::absolute(args.data.join(STANDALONE_STORE))?),
        _ => Dict::new(),
    };
    let loaded = Loaded::read(&cli.global, &defaults)?;
    telemetry::start(&loaded.config.log)?;
    let format = cli.global.output;
    match cli.command {
        Command::Controller => serve::controller(&loaded).await?,
        Command::Standalone(args) => serve::standalone(&loaded, &args).await?,
        Command::Create(args) => return create::create(&loaded, format, args).await,
        Command::Get(args) => cache::get(&loaded, format, &args).await?,
        Command::List => cache::list(&loaded, format).await?,
        Command::Delete(args) => cache::delete(&loaded, &args).await?,
        Command::Match(args) => matching::best_match(&loaded, format, &args).await?,
        Command::Cost(args) => cost::cost(&loaded, format, cli.global.provider.as_deref(), &args).await?,
        Command::Mount(args) => volume::mount(&loaded, args).await?,
        Command::Umount(args) => volume::umount(args).await?,
        Command::Export(args) => volume::export(&loaded, args).await?,
        Command::Verify(args) => return volume::verify(&loaded, format, args).await,
        Command::Node(args) => return node::node(&loaded, format, args).await,
        Command::Crd => show::crd(format)?,
        Command::Config => show::config(&loaded, format)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// No cache has this id.
#[derive(Debug, thiserror::Error)]
#[error("no cache `{id}` is kept by provider `{provider}`; `imagecache list` shows what there is")]
struct NoSuchCache {
    id: CacheId,
    provider: &'static str,
}

/// Finds a cache by the id that users see.
async fn find(provider: &dyn CacheProvider, id: &CacheId) -> Result<CacheState, AnyError> {
    let states = provider.list().await?;
    let found = states.into_iter().find(|state| &state.id == id);
    found.ok_or_else(|| {
        NoSuchCache {
            id: id.clone(),
            provider: provider.name(),
        }
        .into()
    })
}

async fn provider(loaded: &Loaded) -> Result<Arc<dyn CacheProvider>, AnyError> {
    Ok(registry::open(loaded, None).await?.provider)
}
