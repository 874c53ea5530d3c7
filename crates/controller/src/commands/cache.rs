//! `get`, `list`, `delete`: the provider's caches, with no Kubernetes.

use jiff::Timestamp;

use super::{AnyError, find, provider};
use crate::cli::{Format, IdArgs};
use crate::config::Loaded;
use crate::output::{self, print, render};

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
