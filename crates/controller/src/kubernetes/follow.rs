//! Brings what changed in the states to the catalog.

use super::states::States;
use crate::catalog::Catalog;

/// Changes that are taken at once. Pods are decided on between two of these steps, so one takes far less than a millisecond.
const STEP: usize = 64;

/// Keeps `catalog` as `states` are, until it is dropped.
///
/// There is one follower: it puts a state into the catalog before it reads the next ones, so an old state never comes after
/// a new one.
pub(super) async fn follow(states: &States, catalog: &Catalog) {
    loop {
        // Asked before the changes are taken: whatever the first listing told is then among them.
        let loaded = matches!(states.loaded(), Ok(true));
        let changes = states.changes(STEP);
        if !changes.is_empty() {
            catalog.apply(&changes);
            tokio::task::yield_now().await;
            continue;
        }
        if loaded {
            catalog.loaded();
        }
        states.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use imagecache_core::matching::Decision;
    use imagecache_core::{CacheKey, CacheSpec, CacheState, Otherwise, Phase, PodRequest, PodWish};
    use jiff::Timestamp;
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn state(name: &str, phase: Phase) -> CacheState {
        let spec = CacheSpec::new(vec![format!("{name}:1").parse().unwrap()]);
        let key = CacheKey::new(name, &spec);
        CacheState {
            phase,
            ..CacheState::requested(&key, &spec, Timestamp::UNIX_EPOCH)
        }
    }

    fn is_usable(catalog: &Catalog, state: &CacheState) -> bool {
        let wish = PodWish::Named {
            id: state.id.to_string(),
            otherwise: Otherwise::Pull,
        };
        let request = PodRequest {
            dialect: "tencent",
            images: state.images.clone(),
            uncounted: Vec::new(),
            wish,
        };
        matches!(catalog.decide(&request, Timestamp::UNIX_EPOCH), Decision::Use { .. })
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let met = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, met).await.expect(what);
    }

    #[tokio::test]
    async fn the_catalog_becomes_what_the_states_are() {
        let (states, catalog) = (Arc::new(States::default()), Arc::new(Catalog::default()));
        let following = tokio::spawn({
            let (states, catalog) = (Arc::clone(&states), Arc::clone(&catalog));
            async move { follow(&states, &catalog).await }
        });
        let many: Vec<CacheState> = (0..3 * STEP)
            .map(|n| state(&format!("many{n}"), Phase::Ready))
            .collect();
        let one = state("one", Phase::Creating);
        states.heard(one.clone());
        until("the one that was heard of", || catalog.read(|index| index.len()) == 1).await;
        assert!(!catalog.is_loaded(), "nothing was listed");

        let listed = many.iter().cloned().chain([one.clone()]).collect();
        states.listed(listed, Instant::now() + Duration::from_millis(1));
        until("the listing", || catalog.is_loaded()).await;
        assert_eq!(
            catalog.read(|index| index.len()),
            many.len() + 1,
            "complete means complete"
        );
        assert!(many.iter().all(|state| is_usable(&catalog, state)));
        assert!(!is_usable(&catalog, &one));

        states.heard(CacheState {
            phase: Phase::Ready,
            ..one.clone()
        });
        until("it is ready", || is_usable(&catalog, &one)).await;
        let (first, rest) = many.split_first().unwrap();
        states.removed(&first.key);
        until("one is removed", || !is_usable(&catalog, first)).await;
        states.listed(rest.get(1..).unwrap().to_vec(), Instant::now() + Duration::from_secs(1));
        until("the others vanished", || {
            catalog.read(|index| index.len()) == many.len() - 2
        })
        .await;
        assert!(!is_usable(&catalog, &one));
        following.abort();
    }

    #[tokio::test]
    async fn a_provider_without_caches_is_loaded_too() {
        let (states, catalog) = (Arc::new(States::default()), Arc::new(Catalog::default()));
        let following = tokio::spawn({
            let (states, catalog) = (Arc::clone(&states), Arc::clone(&catalog));
            async move { follow(&states, &catalog).await }
        });
        states.listed(Vec::new(), Instant::now());
        until("the listing", || catalog.is_loaded()).await;
        following.abort();
    }
}
