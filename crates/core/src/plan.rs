//! What one reconcile pass should do. Pure: no I/O, no clock.

use jiff::Timestamp;

use crate::{CacheKey, CacheState, Phase};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Key of the spec as it is now.
    pub key: CacheKey,
    /// The present.
    pub now: Timestamp,
}

/// What was written down last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Key of the cache that the owner uses.
    pub key: CacheKey,
    /// When that cache was going to expire.
    pub expires_at: Option<Timestamp>,
}

/// One step towards what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the provider for the cache: it is not there, or its build stalled.
    Ensure,
    /// Building: look again later.
    Poll,
    /// The new cache is Ready: remove the one that it replaces.
    RemoveOld {
        /// Key of the cache to remove.
        old: CacheKey,
    },
    /// Ready and nothing to clean up.
    Settle,
    /// It failed: say so; only a changed spec helps.
    Report,
    /// It lived as long as it was asked to: say so, and do not build it again.
    Expired,
}

/// Decides the next step; `observed` is the state under `desired.key`.
///
/// ```
/// # use imagecache_core::{plan, Action, Desired};
/// let desired = Desired { key: "k".parse()?, now: jiff::Timestamp::UNIX_EPOCH };
/// assert_eq!(plan(&desired, None, None), Action::Ensure);
/// # Ok::<(), imagecache_core::IdError>(())
/// ```
pub fn plan(desired: &Desired, recorded: Option<&Recorded>, observed: Option<&CacheState>) -> Action {
    let Some(state) = observed else {
        let expired = recorded
            .is_some_and(|old| old.key == desired.key && old.expires_at.is_some_and(|expiry| expiry <= desired.now));
        return if expired { Action::Expired } else { Action::Ensure };
    };
    match &state.phase {
        Phase::Ready => match recorded {
            Some(old) if old.key != desired.key => Action::RemoveOld { old: old.key.clone() },
            _ => Action::Settle,
        },
        Phase::Failed(_) => Action::Report,
        Phase::Stalled(_) => Action::Ensure,
        Phase::Pending | Phase::Creating | Phase::Unknown(_) => Action::Poll,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CacheSpec, ErrorKind, Failure};

    fn key(text: &str) -> CacheKey {
        text.parse().unwrap()
    }

    fn state(phase: Phase) -> CacheState {
        let spec = CacheSpec::new(vec!["nginx".parse().unwrap()]);
        CacheState {
            phase,
            ..CacheState::requested(&key("new"), &spec, Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn every_situation() {
        let now = Timestamp::from_second(1000).unwrap();
        let desired = Desired { key: key("new"), now };
        let recorded = |name: &str, expiry: Option<i64>| {
            Some(Recorded {
                key: key(name),
                expires_at: expiry.map(|s| Timestamp::from_second(s).unwrap()),
            })
        };
        let failure = || Failure {
            kind: ErrorKind::NotFound,
            message: "gone".into(),
        };
        for (name, recorded, observed, expected) in [
            ("nothing yet", None, None, Action::Ensure),
            (
                "crash before it was written down",
                None,
                Some(Phase::Creating),
                Action::Poll,
            ),
            ("removed behind our back", recorded("new", None), None, Action::Ensure),
            (
                "not yet expired, removed",
                recorded("new", Some(1001)),
                None,
                Action::Ensure,
            ),
            ("expired", recorded("new", Some(1000)), None, Action::Expired),
            (
                "expired under an old spec",
                recorded("old", Some(1)),
                None,
                Action::Ensure,
            ),
            ("pending", recorded("new", None), Some(Phase::Pending), Action::Poll),
            (
                "pending, old one serves",
                recorded("old", None),
                Some(Phase::Pending),
                Action::Poll,
            ),
            ("unknown", None, Some(Phase::Unknown("Odd".into())), Action::Poll),
            ("ready", recorded("new", None), Some(Phase::Ready), Action::Settle),
            ("ready, never recorded", None, Some(Phase::Ready), Action::Settle),
            (
                "ready, replaces",
                recorded("old", None),
                Some(Phase::Ready),
                Action::RemoveOld { old: key("old") },
            ),
            ("failed", None, Some(Phase::Failed(failure())), Action::Report),
            (
                "failed, old one stays",
                recorded("old", None),
                Some(Phase::Failed(failure())),
                Action::Report,
            ),
            (
                "stalled",
                recorded("new", None),
                Some(Phase::Stalled(failure())),
                Action::Ensure,
            ),
        ] {
            let observed = observed.map(state);
            assert_eq!(plan(&desired, recorded.as_ref(), observed.as_ref()), expected, "{name}");
        }
    }
}
