//! `get`, `list`, `delete`, `match`: the provider's caches, with no Kubernetes.

use imagecache_core::rank;
use jiff::Timestamp;
use serde::Serialize;

use super::{AnyError, find, provider};
use crate::cli::{Format, IdArgs, MatchArgs};
use crate::config::Loaded;
use crate::output::{self, columns, print, render};

pub(super) async fn get(loaded: &Loaded, format: Format, args: &IdArgs) -> Result<(), AnyError> {
    let provider = provider(loaded).await?;
    let state = find(provider.as_ref(), &args.id).await?;
    print(&render(format, &state, |state| output::cache(state, Timestamp::now()))?)?;
    Ok(())
}

pub(super) async fn list(loaded: &Loaded, format: Format) -> Result<(), AnyError> {
    let mut states = provider(loaded).await?.list().await?;
    states.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    print(&render(format, &states, |states| {
        output::caches(states, Timestamp::now())
    })?)?;
    Ok(())
}

pub(super) async fn delete(loaded: &Loaded, args: &IdArgs) -> Result<(), AnyError> {
    let provider = provider(loaded).await?;
    let state = find(provider.as_ref(), &args.id).await?;
    provider.delete(&state.key).await?;
    print(&format!("{} deleted\n", args.id))?;
    Ok(())
}

/// One row of `match`.
#[derive(Serialize)]
struct Match {
    id: String,
    full: usize,
    partial: usize,
    images: Vec<String>,
}

pub(super) async fn best_match(loaded: &Loaded, format: Format, args: &MatchArgs) -> Result<(), AnyError> {
    let states = provider(loaded).await?.list().await?;
    let matches: Vec<Match> = rank(&args.images, &states)
        .into_iter()
        .map(|ranked| Match {
            id: ranked.state.id.to_string(),
            full: ranked.degree.full,
            partial: ranked.degree.partial,
            images: ranked.state.images.iter().map(ToString::to_string).collect(),
        })
        .collect();
    let wanted = args.images.len();
    let table = |matches: &Vec<Match>| {
        let rows: Vec<Vec<String>> = matches
            .iter()
            .map(|m| {
                vec![
                    m.id.clone(),
                    format!("{}/{wanted}", m.full),
                    m.partial.to_string(),
                    m.images.join(","),
                ]
            })
            .collect();
        columns(&["ID", "FULL", "PARTIAL", "IMAGES"], &rows)
    };
    print(&render(format, &matches, table)?)?;
    Ok(())
}
