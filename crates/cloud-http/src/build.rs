//! What a cloud tells of a build: why it failed, that it hangs, what happened in which order. Pure.

use std::cmp::Reverse;
use std::time::Duration;

use imagecache_core::{
    CacheEvent, CacheSpec, CacheState, Error, ErrorKind, EventSeverity, Failure, ImageRef, MAX_EVENTS, Phase, Platform,
    Result,
};
use jiff::{SignedDuration, Timestamp};

/// Status of a cache that is usable; of Alibaba's also while an instant cache's lasting snapshot is below 100 %.
const READY: &str = "Ready";
/// Status of a cache whose build ended.
pub const FAILED: &str = "Failed";
/// Status of a cache whose last update failed; it may be updated again.
pub const UPDATE_FAILED: &str = "UpdateFailed";
/// Status of a cache that is being updated.
pub const UPDATING: &str = "Updating";

/// When we give up on a build, or on an update, that the service does not give up on.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time for one build.
    pub deadline: Duration,
    /// Builds of one cache, the first included.
    pub attempts: u32,
}

/// Words in a build's last warning, and whose problem they tell of. None passes by itself, since no service tries a failed
/// build again.
const CAUSES: &[(&str, ErrorKind)] = &[
    ("not found", ErrorKind::NotFound),
    ("notfound", ErrorKind::NotFound),
    ("manifest unknown", ErrorKind::NotFound),
    ("manifest_unknown", ErrorKind::NotFound),
    ("name unknown", ErrorKind::NotFound),
    ("no such image", ErrorKind::NotFound),
    ("does not exist", ErrorKind::NotFound),
    ("missing manifest", ErrorKind::NotFound),
    ("no matching manifest", ErrorKind::NotFound),
    ("unauthorized", ErrorKind::Unauthenticated),
    ("authentication required", ErrorKind::Unauthenticated),
    ("incorrect username or password", ErrorKind::Unauthenticated),
    ("access denied", ErrorKind::PermissionDenied),
    ("permission denied", ErrorKind::PermissionDenied),
    ("forbidden", ErrorKind::PermissionDenied),
    ("no space left", ErrorKind::QuotaExceeded),
    ("insufficient space", ErrorKind::QuotaExceeded),
    ("disk is full", ErrorKind::QuotaExceeded),
];

/// What the last warning among `events` says went wrong with `what`; `unclear` is whose problem it is if it does not.
fn cause(events: &[CacheEvent], what: &str, unclear: ErrorKind) -> Failure {
    let last = events
        .iter()
        .rev()
        .find(|event| event.severity == EventSeverity::Warning);
    let Some(last) = last else {
        return Failure {
            kind: unclear,
            message: format!("{what}, and the service does not say why"),
        };
    };
    let text = format!("{} {}", last.reason, last.message).to_lowercase();
    let kind = CAUSES.iter().find(|(words, _)| text.contains(words));
    Failure {
        kind: kind.map_or(unclear, |(_, kind)| *kind),
        message: format!("{what}: {}", last.message),
    }
}

impl Patience {
    /// What is wrong with a build that is over its deadline. `way_out` names what this cloud gives a build to reach the
    /// internet with.
    fn overdue(&self, events: &[CacheEvent], way_out: &str) -> Failure {
        let deadline = SignedDuration::try_from(self.deadline).unwrap_or(SignedDuration::MAX);
        let last = match events.last() {
            Some(event) => format!("last event \"{}: {}\"", event.reason, event.message),
            None => "no event so far".to_owned(),
        };
        Failure {
            kind: ErrorKind::Unavailable,
            message: format!(
                "not finished after {deadline:#}; {last}; the registry may be unreachable from the build: give it a way out ({way_out}), or use a registry inside the VPC"
            ),
        }
    }

    /// What a cache is that is not being built, by its status. Both services have the same words; one that neither documents is
    /// shown as it is.
    pub fn phase(&self, status: &str, attempt: u32, events: &[CacheEvent]) -> Phase {
        match status {
            READY => Phase::Ready,
            FAILED => Phase::Failed(cause(events, "the build failed", ErrorKind::Internal)),
            UPDATE_FAILED => self.after(attempt, cause(events, "the update failed", ErrorKind::Unavailable)),
            other => Phase::Unknown(other.to_owned()),
        }
    }

    /// What a build over its deadline is.
    pub fn given_up(&self, attempt: u32, events: &[CacheEvent], way_out: &str) -> Phase {
        self.after(attempt, self.overdue(events, way_out))
    }

    /// The number of the attempt after `tried`, for a cache that is in `phase`; or its phase from now on, when that was the last.
    ///
    /// # Errors
    ///
    /// The phase, which is failed.
    pub fn again(&self, tried: u32, phase: &Phase) -> Result<u32, Phase> {
        match phase.failure().map(|failure| self.after(tried, failure.clone())) {
            Some(over @ Phase::Failed(_)) => Err(over),
            _ => Ok(tried.saturating_add(1)),
        }
    }

    /// What a cache is whose `attempt` ended with `failure`: stalled as long as there may be another one, then failed. Every
    /// attempt is billed.
    pub fn after(&self, attempt: u32, failure: Failure) -> Phase {
        match attempt < self.attempts {
            true => Phase::Stalled(failure),
            false => Phase::Failed(failure),
        }
    }
}

/// An event as a service tells it, in our words.
pub fn event(
    severity: &str,
    reason: &str,
    message: &str,
    first_at: Timestamp,
    last_at: Option<Timestamp>,
) -> CacheEvent {
    let severity = match severity.eq_ignore_ascii_case("Warning") {
        true => EventSeverity::Warning,
        false => EventSeverity::Normal,
    };
    CacheEvent {
        last_at: last_at.unwrap_or(first_at),
        ..CacheEvent::new(severity, reason, message, first_at)
    }
}

/// Refuses a platform that a cloud's builds do not have: its API has no parameter for one.
///
/// # Errors
///
/// `Unsupported`, for everything but linux/amd64.
pub fn only_amd64(provider: &'static str, spec: &CacheSpec) -> Result<()> {
    match &spec.platform {
        Some(platform) if platform.normalized() != Platform::linux("amd64") => {
            let message = format!(
                "platform {platform} cannot be asked for: the API has no parameter for it and builds linux/amd64"
            );
            Err(Error::new(ErrorKind::Unsupported, provider, "ensure", message))
        }
        _ => Ok(()),
    }
}

/// The images of a cache as the service lists them. One in a form that we cannot read hides neither the others nor the cache.
pub fn readable_images(images: &[String]) -> Vec<ImageRef> {
    images.iter().filter_map(|image| ImageRef::parse(image).ok()).collect()
}

/// Order of several caches under one key, best first: whatever is furthest on; of two equally far the later attempt, since the
/// earlier one was given up; then the older, on which two processes agree.
pub fn rank(state: &CacheState, attempt: u32) -> impl Ord + use<> {
    let progress = match state.phase {
        Phase::Ready => 0,
        Phase::Creating | Phase::Pending => 1,
        Phase::Unknown(_) => 2,
        Phase::Stalled(_) => 3,
        Phase::Failed(_) => 4,
    };
    (progress, Reverse(attempt), state.created_at, state.id.clone())
}

/// The newest events, oldest first, from a list in either order.
pub fn oldest_first(mut events: Vec<CacheEvent>) -> Vec<CacheEvent> {
    // Times are whole seconds: of equal ones the service's order counts, whichever way round that is.
    if let [first, .., last] = events.as_slice()
        && first.last_at > last.last_at
    {
        events.reverse();
    }
    events.sort_by_key(|event| event.last_at);
    let surplus = events.len().saturating_sub(MAX_EVENTS);
    events.drain(..surplus);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(message: &str) -> CacheEvent {
        CacheEvent::new(EventSeverity::Warning, "Failed", message, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_failure_tells_why_and_is_never_transient() {
        for (text, kind) in [
            ("Failed to pull image \"x\": manifest unknown", ErrorKind::NotFound),
            ("repository does not exist or may require login", ErrorKind::NotFound),
            ("unexpected status 401 Unauthorized", ErrorKind::Unauthenticated),
            ("pull access denied for x", ErrorKind::PermissionDenied),
            ("write /x: no space left on device", ErrorKind::QuotaExceeded),
            ("image pull failed", ErrorKind::Internal),
        ] {
            let failure = cause(&[warning(text)], "the build failed", ErrorKind::Internal);
            assert_eq!(failure.kind, kind, "{text}");
            assert_eq!(failure.message, format!("the build failed: {text}"));
        }
        assert!(CAUSES.iter().all(|(_, kind)| !kind.is_transient()));
        let silent = cause(&[], "the build failed", ErrorKind::Internal);
        assert_eq!(silent.kind, ErrorKind::Internal);
    }

    #[test]
    fn an_overdue_build_shows_its_last_event() {
        let patience = Patience {
            deadline: Duration::from_secs(3600),
            attempts: 3,
        };
        let failure = patience.overdue(&[warning("start to pull images")], "NAT gateway");
        assert_eq!(failure.kind, ErrorKind::Unavailable);
        for part in ["not finished after 1h", "start to pull images", "(NAT gateway)"] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn a_build_is_given_up_after_its_last_attempt() {
        let patience = Patience {
            deadline: Duration::from_secs(300),
            attempts: 3,
        };
        for (attempt, expected) in [(1, "Stalled"), (2, "Stalled"), (3, "Failed"), (4, "Failed")] {
            let phase = patience.given_up(attempt, &[], "");
            assert_eq!(phase.as_str(), expected, "{attempt}");
            let next = patience.again(attempt, &phase).map_err(|phase| phase.as_str());
            assert_eq!(next, if attempt < 3 { Ok(attempt + 1) } else { Err("Failed") });
        }
    }

    #[test]
    fn what_both_services_call_alike_means_the_same() {
        let patience = Patience {
            deadline: Duration::from_secs(300),
            attempts: 2,
        };
        let event = event("warning", "Failed", "manifest unknown", Timestamp::UNIX_EPOCH, None);
        for (status, attempt, expected) in [
            ("Ready", 9, "Ready"),
            ("Failed", 1, "Failed"),
            ("UpdateFailed", 1, "Stalled"),
            ("UpdateFailed", 2, "Failed"),
            ("Updating", 1, "Unknown"),
            ("ready", 1, "Unknown"),
        ] {
            let phase = patience.phase(status, attempt, std::slice::from_ref(&event));
            assert_eq!(phase.as_str(), expected, "{status}, attempt {attempt}");
            if let Some(failure) = phase.failure() {
                assert_eq!(failure.kind, ErrorKind::NotFound, "{status}");
            }
        }
    }

    #[test]
    fn only_the_platform_that_is_built_is_accepted() {
        for (platform, accepted) in [
            (None, true),
            (Some("linux/amd64"), true),
            (Some("linux/x86_64"), true),
            (Some("linux/arm64"), false),
            (Some("windows/amd64"), false),
        ] {
            let spec = CacheSpec {
                platform: platform.map(|text| text.parse().unwrap()),
                ..CacheSpec::new(Vec::new())
            };
            let refused = only_amd64("cloud", &spec).err().map(|error| error.kind());
            assert_eq!(refused, (!accepted).then_some(ErrorKind::Unsupported), "{platform:?}");
        }
    }

    #[test]
    fn events_are_oldest_first_whatever_their_order() {
        let event = |reason: &str, second| {
            let at = Timestamp::from_second(second).unwrap();
            CacheEvent::new(EventSeverity::Normal, reason, "", at)
        };
        let sent = vec![event("a", 10), event("b", 50), event("c", 50)];
        for reversed in [false, true] {
            let mut sent = sent.clone();
            if reversed {
                sent.reverse();
            }
            let reasons: Vec<String> = oldest_first(sent).into_iter().map(|event| event.reason).collect();
            assert_eq!(reasons, ["a", "b", "c"], "reversed: {reversed}");
        }
    }
}
