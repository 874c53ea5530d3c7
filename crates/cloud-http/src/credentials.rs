//! A chain of credential sources with a cache in front.
//!
//! A temporary credential is fetched anew when a tenth of its life is left, at most five minutes: a fixed margin alone
//! would be the whole life of a short one, and a tenth alone would throw hours of a long one away. One caller fetches;
//! the others go on with what is still valid, or wait for that one when nothing is.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imagecache_core::{BoxError, Clock};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};

use crate::{Credential, CredentialError, CredentialSource};

/// A credential is fetched anew at least this long before it ends, or a tenth of its life if that is less.
const REFRESH_AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// What a failed fetch answered is answered again for this long, and a fetch that brought nothing new is not repeated
/// for as long: thousands of calls must not ask a metadata service one by one.
const REPEAT_AFTER: Duration = Duration::from_secs(5);
/// Longest time for a source. Its own requests have shorter limits; this ends what hangs all the same.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks a chain of sources in order, keeps what it got, and fetches anew before that expires: once, however many wait.
pub struct Credentials {
    chain: Vec<Box<dyn CredentialSource>>,
    clock: Clock,
    /// Held by the one that fetches.
    fetching: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// Index of the source that worked.
    source: Option<usize>,
    /// The last fetch, if it failed or changed nothing: no other until then.
    quiet_until: Option<Instant>,
    failure: Option<CredentialError>,
    /// What the service rejected last, and is not worth another fetch if that brought the same.
    rejected: Option<Arc<Credential>>,
}

struct Kept {
    credential: Arc<Credential>,
    fetched_at: Instant,
    refresh_at: Option<Timestamp>,
}

impl Credentials {
    /// A chain that is asked in this order; the first source that has something is kept to.
    pub fn new(chain: Vec<Box<dyn CredentialSource>>, clock: Clock) -> Self {
        Self {
            chain,
            clock,
            fetching: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// The present credential.
    ///
    /// # Errors
    ///
    /// When no source has one, or the configured one does not work and nothing valid is left.
    pub async fn get(&self) -> Result<Arc<Credential>, CredentialError> {
        let _fetching = match self.look()? {
            Found::Fresh(credential) => return Ok(credential),
            Found::Due(credential) => match self.fetching.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(credential),
            },
            Found::Nothing => self.fetching.lock().await,
        };
        // Whoever fetched meanwhile did it for us too.
        let fallback = match self.look()? {
            Found::Fresh(credential) => return Ok(credential),
            Found::Due(credential) => Some(credential),
            Found::Nothing => None,
        };
        match self.fetch().await {
            Ok((source, credential)) => Ok(self.keep(source, credential)),
            Err(error) => self.failed(error, fallback),
        }
    }

    /// Notes that the service rejected `credential`, so the next [`get`](Self::get) fetches anew. A credential that was
    /// replaced meanwhile, or that a fetch has just brought again, changes nothing.
    pub fn rejected(&self, credential: &Credential) {
        let mut state = self.state();
        let Some(kept) = state.kept.take_if(|kept| same(&kept.credential, credential)) else {
            return;
        };
        let in_vain = state.rejected.as_ref().is_some_and(|earlier| same(earlier, credential));
        if in_vain && state.is_quiet() {
            state.kept = Some(kept);
            return;
        }
        state.rejected = Some(kept.credential);
        state.quiet_until = None;
        state.failure = None;
    }

    /// What the cache has.
    fn look(&self) -> Result<Found, CredentialError> {
        let now = (self.clock)();
        let state = self.state();
        let quiet = state.is_quiet();
        if let Some(kept) = &state.kept {
            let credential = Arc::clone(&kept.credential);
            let valid = credential.expires_at.is_none_or(|ends| now < ends);
            // What was just fetched is used even if our clock says that it has ended: the clock may be wrong.
            let new = kept.fetched_at.elapsed() < REPEAT_AFTER;
            if new || valid && quiet || kept.refresh_at.is_none_or(|at| now < at) {
                return Ok(Found::Fresh(credential));
            }
            if valid {
                return Ok(Found::Due(credential));
            }
        }
        match &state.failure {
            Some(failure) if quiet => Err(again(failure)),
            _ => Ok(Found::Nothing),
        }
    }

    async fn fetch(&self) -> Result<(usize, Credential), CredentialError> {
        let known = self.state().source;
        let first = known.unwrap_or(0);
        let links = if known.is_some() { 1 } else { self.chain.len() };
        for (index, source) in self.chain.iter().enumerate().skip(first).take(links) {
            let loaded = timeout(LOAD_TIMEOUT, source.load()).await;
            let loaded = loaded.unwrap_or_else(|_| {
                Err(CredentialError::Unavailable {
                    name: source.name(),
                    message: format!("no answer within {} s", LOAD_TIMEOUT.as_secs()),
                    source: None,
                })
            });
            if let Some(credential) = loaded? {
                return Ok((index, credential));
            }
        }
        match known.and_then(|index| self.chain.get(index)) {
            // Another identity in silence would be worse.
            Some(source) => Err(CredentialError::Invalid {
                name: source.name(),
                message: "it has no credential any more".to_owned(),
                source: None,
            }),
            None => {
                let names: Vec<String> = self.chain.iter().map(|source| source.name()).collect();
                Err(CredentialError::NotFound(names.join(", ")))
            }
        }
    }

    fn keep(&self, source: usize, credential: Credential) -> Arc<Credential> {
        let credential = Arc::new(credential);
        let mut state = self.state();
        if state.source != Some(source)
            && let Some(link) = self.chain.get(source)
        {
            tracing::info!(source = link.name(), "credential found");
        }
        let refresh_at = credential.expires_at.map(|ends| refresh_at((self.clock)(), ends));
        let before = [
            state.kept.as_ref().map(|kept| &kept.credential),
            state.rejected.as_ref(),
        ];
        let unchanged = before.into_iter().flatten().any(|earlier| same(earlier, &credential));
        state.quiet_until = unchanged.then(|| Instant::now() + REPEAT_AFTER);
        state.failure = None;
        if !unchanged {
            state.rejected = None;
        }
        state.source = Some(source);
        state.kept = Some(Kept {
            credential: Arc::clone(&credential),
            fetched_at: Instant::now(),
            refresh_at,
        });
        credential
    }

    fn failed(
        &self,
        error: CredentialError,
        fallback: Option<Arc<Credential>>,
    ) -> Result<Arc<Credential>, CredentialError> {
        let mut state = self.state();
        state.quiet_until = Some(Instant::now() + REPEAT_AFTER);
        match fallback {
            // Not if it was rejected in the meantime.
            Some(credential) if state.kept.is_some() => {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the credential could not be renewed; the old one is used until it ends"
                );
                Ok(credential)
            }
            _ => {
                state.kept = None;
                let (error, copy) = shared(error);
                state.failure = Some(copy);
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_quiet(&self) -> bool {
        self.quiet_until.is_some_and(|until| Instant::now() < until)
    }
}

/// What the cache has to offer.
enum Found {
    /// Good for a while.
    Fresh(Arc<Credential>),
    /// Still valid, but somebody should fetch the next.
    Due(Arc<Credential>),
    /// Nothing valid.
    Nothing,
}

/// When a credential that was fetched `now` is to be replaced.
fn refresh_at(now: Timestamp, ends: Timestamp) -> Timestamp {
    let life = ends.duration_since(now).max(SignedDuration::ZERO);
    let ahead = REFRESH_AHEAD.min(life / 10);
    ends.checked_sub(ahead).unwrap_or(ends)
}

fn same(one: &Credential, other: &Credential) -> bool {
    one.id == other.id && one.secret == other.secret && one.token == other.token
}

/// A cause that several errors have.
#[derive(Clone, Debug)]
struct SharedCause(Arc<BoxError>);

impl fmt::Display for SharedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The error twice.
fn shared(error: CredentialError) -> (CredentialError, CredentialError) {
    let share = |source: Option<BoxError>| source.map(|source| BoxError::from(SharedCause(Arc::new(source))));
    let error = match error {
        CredentialError::NotFound(names) => CredentialError::NotFound(names),
        CredentialError::Invalid { name, message, source } => CredentialError::Invalid {
            name,
            message,
            source: share(source),
        },
        CredentialError::Unavailable { name, message, source } => CredentialError::Unavailable {
            name,
            message,
            source: share(source),
        },
    };
    let copy = again(&error);
    (error, copy)
}

/// The error once more; its cause was made to be shared.
fn again(error: &CredentialError) -> CredentialError {
    let copy = |source: &Option<BoxError>| {
        let cause = source.as_ref()?.downcast_ref::<SharedCause>()?;
        Some(BoxError::from(cause.clone()))
    };
    match error {
        CredentialError::NotFound(names) => CredentialError::NotFound(names.clone()),
        CredentialError::Invalid { name, message, source } => CredentialError::Invalid {
            name: name.clone(),
            message: message.clone(),
            source: copy(source),
        },
        CredentialError::Unavailable { name, message, source } => CredentialError::Unavailable {
            name: name.clone(),
            message: message.clone(),
            source: copy(source),
        },
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.chain.iter().map(|source| source.name()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_renewed_a_tenth_or_five_minutes_ahead() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (name, life, ahead) in [
            ("an hour", 3600, 300),
            ("twelve hours", 43_200, 300),
            ("a quarter of an hour", 900, 90),
            ("a minute", 60, 6),
            ("over", -60, 0),
        ] {
            let ends = now + SignedDuration::from_secs(life);
            let expected = ends - SignedDuration::from_secs(ahead);
            assert_eq!(refresh_at(now, ends), expected, "{name}");
        }
    }
}
