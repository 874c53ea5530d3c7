//! Sends calls of one account, persistently and at its rate.

use std::sync::Arc;
use std::time::Duration;

use imagecache_core::Clock;

use crate::{Answer, CallError, Credentials, Protocol};

/// How a [`Client`] behaves. The defaults suit both clouds.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Longest time for one attempt, from connecting to the last byte.
    pub attempt_timeout: Duration,
    /// Attempts for one call, the first included.
    pub attempts: u32,
    /// Longest time for one call with all its attempts, waiting for its turn not counted.
    pub total_timeout: Duration,
}

/// Sends calls of one account.
pub struct Client<P: Protocol> {
    _protocol: P,
    _credentials: Arc<Credentials>,
    _clock: Clock,
}

impl<P: Protocol> Client<P> {
    /// A client for `protocol`.
    pub fn new(protocol: P, credentials: Arc<Credentials>, _config: ClientConfig, clock: Clock) -> Self {
        Self {
            _protocol: protocol,
            _credentials: credentials,
            _clock: clock,
        }
    }

    /// Sends `call` until it succeeds, cannot succeed, or was tried often enough.
    ///
    /// # Errors
    ///
    /// What was wrong with the last attempt.
    #[allow(clippy::unimplemented)]
    pub async fn call(&self, _call: &P::Call) -> Result<Answer, CallError> {
        unimplemented!()
    }
}
