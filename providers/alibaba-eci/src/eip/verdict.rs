//! Which address a build uses and which one is released: decisions without I/O.

use jiff::SignedDuration;

use super::wire::Address;

/// What a list says of the cache that an address was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildState {
    /// Its build may still need the address: it goes on, has stalled, or its state is unknown.
    Running,
    /// It is done or has failed.
    Over,
}

/// States of an address.
const AVAILABLE: &str = "Available";
const RELEASING: &str = "Releasing";
/// A cache may be missing in a list that was asked for before it was begun, or that lags behind. A minute is twice what is
/// expected of both, and the rest is for a build that another process has just begun.
const UNLISTED_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// A list that shows the old, finished cache of a key may be older than the address for its new build.
const STALE_LIST_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// How old an address is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Age {
    /// Since this process obtained it for a build that no list has shown yet.
    pub(super) obtained: Option<SignedDuration>,
    /// Since the cloud made it, if it says so.
    pub(super) made: Option<SignedDuration>,
}

/// Whether to release an address in `status`. `build` is its cache's, `None` when the list has no such cache.
pub(super) fn verdict(build: Option<BuildState>, status: &str, age: Age) -> bool {
    let younger = |age: Option<SignedDuration>, than: SignedDuration| age.is_some_and(|age| age < than);
    let needed = match build {
        Some(BuildState::Running) => true,
        Some(BuildState::Over) => younger(age.obtained, STALE_LIST_GRACE),
        None => younger(age.obtained, UNLISTED_GRACE) || younger(age.made, UNLISTED_GRACE),
    };
    !needed && status == AVAILABLE
}

/// Whether a key that was obtained so long ago needs no holding any more, listed or not.
pub(super) fn hold_is_over(obtained: SignedDuration) -> bool {
    obtained >= UNLISTED_GRACE
}

/// The address for a build among those of its key. The one made for this very attempt is taken whatever its state, so that a
/// repeated call has the same parameters; another attempt's only when nothing uses it.
pub(super) fn choose(mut addresses: Vec<Address>, attempt: u32) -> Option<Address> {
    addresses.retain(|address| address.status != RELEASING);
    addresses.sort_by(|a, b| a.id.cmp(&b.id));
    let exact = addresses.iter().position(|address| address.attempt == attempt);
    let free = || addresses.iter().position(|address| address.status == AVAILABLE);
    let index = exact.or_else(free)?;
    Some(addresses.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_build_needs_is_released() {
        let (running, over) = (Some(BuildState::Running), Some(BuildState::Over));
        for (name, build, status, obtained, made, expected) in [
            ("its build goes on", running, "Available", None, Some(9999), false),
            ("its build is over", over, "Available", None, Some(9999), true),
            ("its build is over, and quickly", over, "Available", None, Some(1), true),
            (
                "its build is over, still attached",
                over,
                "InUse",
                None,
                Some(9999),
                false,
            ),
            ("being detached", over, "Unassociating", None, Some(9999), false),
            ("being released", over, "Releasing", None, Some(9999), false),
            ("a state that we do not know", over, "Locked", None, Some(9999), false),
            (
                "the list may be older than a second build",
                over,
                "Available",
                Some(5),
                Some(9999),
                false,
            ),
            (
                "the second build is old news too",
                over,
                "Available",
                Some(60),
                Some(9999),
                true,
            ),
            ("its cache is gone", None, "Available", None, Some(9999), true),
            (
                "its cache is gone, still attached",
                None,
                "InUse",
                None,
                Some(9999),
                false,
            ),
            ("its cache may be on its way", None, "Available", None, Some(60), false),
            (
                "its cache may be on its way, with an old address",
                None,
                "Available",
                Some(60),
                Some(9999),
                false,
            ),
            ("its cache never came", None, "Available", Some(301), Some(301), true),
            ("of unknown age", None, "Available", None, None, true),
        ] {
            let age = Age {
                obtained: obtained.map(SignedDuration::from_secs),
                made: made.map(SignedDuration::from_secs),
            };
            assert_eq!(verdict(build, status, age), expected, "{name}");
        }
    }

    #[test]
    fn the_same_attempt_gets_the_same_address() {
        let address = |id: &str, status: &str, attempt| Address {
            id: id.to_owned(),
            status: status.to_owned(),
            attempt,
            ..Address::default()
        };
        for (name, addresses, expected) in [
            ("none", vec![], None),
            (
                "its own",
                vec![address("b", "InUse", 2), address("a", "Available", 1)],
                Some("b"),
            ),
            (
                "one of two",
                vec![address("b", "Available", 2), address("a", "InUse", 2)],
                Some("a"),
            ),
            (
                "another attempt's",
                vec![address("b", "Available", 1), address("a", "InUse", 1)],
                Some("b"),
            ),
            (
                "only used ones",
                vec![address("a", "InUse", 1), address("b", "Unassociating", 1)],
                None,
            ),
            ("one that goes", vec![address("a", "Releasing", 2)], None),
        ] {
            let chosen = choose(addresses, 2).map(|address| address.id);
            assert_eq!(chosen.as_deref(), expected, "{name}");
        }
    }
}
