//! One pass over one object: decide with `plan`, act through the provider, write down what is known.

use imagecache_core::{Action as Step, CacheKey, CacheState, Desired, ErrorKind, Failure, Phase, Recorded, plan};
use imagecache_k8s_api::{ImageCacheDialect, ParsedRequest};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use std::time::Duration;

use super::context::{Context, PassError};
use super::pass::Pass;

/// While the first listing is under way.
const FIRST_LISTING_PAUSE: Duration = Duration::from_millis(200);
/// Nothing should ever need this: changes wake an object. It bounds the harm of one that was missed.
const SAFETY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Brings the caches of `object` to what its spec asks for, one step further.
pub(super) async fn apply<K: ImageCacheDialect>(context: &Context<K>, object: &K) -> Result<Action, PassError> {
    let mut pass = Pass::new(context, object);
    pass.listen();
    match context.shared.states.loaded() {
        Ok(true) => {}
        Ok(false) => return Ok(Action::requeue(FIRST_LISTING_PAUSE)),
        Err(failure) => {
            // What an earlier run wrote is better than "the provider does not answer".
            if pass.is_new() {
                pass.wanted = object
                    .request()
                    .ok()
                    .map(|request| CacheKey::new(&pass.uid, &request.spec));
                pass.problem = Some(failure);
                pass.write().await?;
            }
            return Err(PassError::Waiting);
        }
    }
    match object.request() {
        Ok(request) => steer(&mut pass, &request).await?,
        Err(error) => {
            pass.problem = Some(Failure {
                kind: error.kind(),
                message: error.to_string(),
            });
            pass.collect_garbage().await;
            pass.write().await?;
        }
    }
    Ok(pass.next())
}

/// The part of a pass for a spec that can be understood.
async fn steer<K: ImageCacheDialect>(pass: &mut Pass<'_, K>, request: &ParsedRequest) -> Result<(), PassError> {
    let key = CacheKey::new(&pass.uid, &request.spec);
    pass.wanted = Some(key.clone());
    adopt(pass, &key);
    pass.collect_garbage().await;
    let mut step = next_step(pass, &key);
    if step == Step::Ensure {
        pass.ensure(&key, request).await?;
        step = next_step(pass, &key);
    }
    match step {
        Step::RemoveOld { old } => {
            // First the status, so that nobody is sent to a cache that is gone; a crash after it leaves `old` written down.
            pass.memory.cache_key = Some(key);
            pass.memory.other_keys.push(old);
            pass.attempts_over();
            pass.write().await?;
            pass.collect_garbage().await;
        }
        Step::Settle => pass.attempts_over(),
        Step::Report => pass.reconsider(&key, request).await?,
        Step::Expired if pass.previous.had_problem => return Ok(()), // a failed cache is forgotten, its message stays
        Step::Expired => pass.expired = true,
        Step::Poll | Step::Ensure => pass.wake_within(SAFETY_INTERVAL),
    }
    pass.write().await
}

/// Decides which cache the object uses: an earlier one only while that serves.
fn adopt<K: ImageCacheDialect>(pass: &mut Pass<'_, K>, key: &CacheKey) {
    let old = pass.memory.cache_key.clone();
    if old.as_ref() == Some(key) || old.as_ref().is_some_and(|old| serves(pass.state(old).as_ref())) {
        return;
    }
    pass.memory.other_keys.extend(old);
    pass.memory.cache_key = Some(key.clone());
    pass.memory.expires_at = None;
}

/// Whether pods may be using it; an unknown state is not taken from them.
fn serves(state: Option<&CacheState>) -> bool {
    state.is_some_and(|state| matches!(state.phase, Phase::Ready | Phase::Unknown(_)))
}

fn next_step<K: ImageCacheDialect>(pass: &Pass<'_, K>, key: &CacheKey) -> Step {
    let desired = Desired {
        key: key.clone(),
        now: (pass.context.shared.clock)(),
    };
    let recorded = pass.memory.cache_key.clone().map(|key| Recorded {
        key,
        expires_at: pass.memory.expires_at,
    });
    plan(&desired, recorded.as_ref(), pass.state(key).as_ref())
}

/// Removes every cache that belongs to a deleted object, finished or not.
pub(super) async fn cleanup<K: ImageCacheDialect>(context: &Context<K>, object: &K) -> Result<Action, PassError> {
    if !matches!(context.shared.states.loaded(), Ok(true)) {
        return Err(PassError::Waiting);
    }
    let mut pass = Pass::new(context, object);
    let keys = pass.memory.cache_key.take();
    pass.memory.other_keys.extend(keys);
    if let Ok(request) = object.request() {
        pass.memory.other_keys.push(CacheKey::new(&pass.uid, &request.spec));
    }
    pass.tell_deleting().await;
    match pass.collect_garbage().await {
        Some(failure) => Err(PassError::Cleanup(failure)),
        None => {
            context.shared.states.forget(&pass.owner);
            context.memos.forget(&pass.uid);
            tracing::info!(name = object.name_any(), "removed all caches of a deleted object");
            Ok(Action::await_change())
        }
    }
}

/// Whether a failed build is worth another try by itself: the user may have corrected the registry or the secret, which
/// changes no spec. Only where a build costs nothing but our own work.
pub(super) fn may_be_corrected_elsewhere(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Unauthenticated | ErrorKind::PermissionDenied
    )
}
