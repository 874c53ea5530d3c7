//! Sends calls of one account, persistently and at its rate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use imagecache_core::{BoxError, Clock};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

use crate::clock_offset::{self, ClockOffset};
use crate::exchange::{Clients, ExchangeError, HttpClientError, exchange};
use crate::retry::{Cause, Persistence};
use crate::{
    Answer, CallError, CallProblem, ClientConfig, Credential, Credentials, Protocol, RateLimiter, Refusal,
    RefusalClass, Signing, answer_time,
};

/// Random bytes of a nonce; as many hexadecimal characters twice.
const NONCE_BYTES: usize = 16;

/// Sends calls of one account: fetches the credential, waits for its turn, signs, sends, reads the answer, and does so
/// again as the [retry table](crate::RULES) says. Every attempt has a signature of its own.
pub struct Client<P: Protocol> {
    protocol: P,
    credentials: Arc<Credentials>,
    config: ClientConfig,
    clock: Clock,
    limiter: Arc<RateLimiter>,
    http: Result<Clients, HttpClientError>,
    offset: ClockOffset,
    rng: Mutex<Rng>,
}

impl<P: Protocol> Client<P> {
    /// A client for `protocol`, with a rate limiter of its own. The environment's proxies are read now.
    pub fn new(protocol: P, credentials: Arc<Credentials>, config: ClientConfig, clock: Clock) -> Self {
        Self {
            protocol,
            credentials,
            limiter: Arc::new(config.limiter()),
            config,
            clock,
            http: Clients::new(),
            offset: ClockOffset::default(),
            rng: Mutex::new(Rng::new()),
        }
    }

    /// The same with a limiter that other clients of the account share.
    #[must_use]
    pub fn with_limiter(mut self, limiter: Arc<RateLimiter>) -> Self {
        self.limiter = limiter;
        self
    }

    /// The limiter, to share it.
    pub fn limiter(&self) -> &Arc<RateLimiter> {
        &self.limiter
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// Sends `call` until it succeeds, cannot succeed, or was tried often enough.
    ///
    /// # Errors
    ///
    /// What was wrong with the last attempt. A refusal keeps how long the service asked to wait, when that was longer
    /// than this call may take.
    pub async fn call(&self, call: &P::Call) -> Result<Answer, CallError> {
        let action = P::action(call);
        let mut persistence = Persistence::new(P::effect(call), self.config.attempts);
        let mut left = self.config.total_timeout;
        let mut attempts = 0;
        loop {
            // Before the turn as well: calls that wait for one credential would go out all at once when it comes.
            let warm = self.credentials.get().await.map_err(CallProblem::Credential);
            let outcome = match warm {
                Err(problem) => Err(Failed::stop(problem)),
                Ok(_) => {
                    self.limiter.acquire(action).await;
                    attempts += 1;
                    let started = Instant::now();
                    let span = tracing::debug_span!("http", action, attempt = attempts, request_id = field::Empty);
                    let limit = self.config.attempt_timeout.min(left);
                    let outcome = self.attempt(call, limit).instrument(span).await;
                    left = left.saturating_sub(started.elapsed());
                    outcome
                }
            };
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => *failed,
            };
            let wait = failed.cause.and_then(|cause| {
                let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
                persistence.next(cause, failed.asked, left, &mut rng)
            });
            let throttled = failed.cause == Some(Cause::Refused(RefusalClass::Throttled));
            if throttled {
                let pause = wait.or(failed.asked).unwrap_or_default();
                self.limiter.throttled(action, pause);
            }
            let Some(wait) = wait else {
                return Err(CallError {
                    action,
                    attempts,
                    problem: failed.problem,
                });
            };
            tracing::debug!(action, attempts, wait_ms = wait.as_millis() as u64, "trying again");
            left = left.saturating_sub(wait);
            // A throttled call waits at the limiter, like every other call of its action.
            if !throttled {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One attempt, with a signature of its own.
    async fn attempt(&self, call: &P::Call, limit: Duration) -> Result<Answer, Box<Failed>> {
        let credential = self
            .credentials
            .get()
            .await
            .map_err(|error| Failed::stop(error.into()))?;
        let request = self
            .sign(call, &credential)
            .map_err(|error| Failed::stop(CallProblem::Request(error)))?;
        let host = request
            .uri()
            .authority()
            .map_or("", |authority| authority.host())
            .to_owned();
        let http = self.http.as_ref().map_err(|error| {
            let problem = CallProblem::Request(error.clone().into());
            Failed::stop(problem)
        })?;
        let started = Instant::now();
        let answer = match exchange(http.to(&host), request, limit).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no answer");
                return Err(no_answer(error, host));
            }
        };
        let elapsed_ms = started.elapsed().as_millis() as u64;
        let status = answer.status.as_u16();
        let Err(refusal) = self.protocol.check(call, &answer) else {
            tracing::debug!(status, elapsed_ms, "answered");
            return Ok(answer);
        };
        Span::current().record("request_id", refusal.request_id.as_deref());
        tracing::debug!(status, elapsed_ms, code = refusal.code, class = ?refusal.class, "refused");
        Err(self.refused(refusal, &answer, &credential, host))
    }

    fn sign(&self, call: &P::Call, credential: &Credential) -> Result<http::Request<Bytes>, BoxError> {
        let mut bytes = [0; NONCE_BYTES];
        getrandom::fill(&mut bytes)?;
        let signing = Signing {
            credential,
            at: self.offset.apply((self.clock)()),
            nonce: &hex::encode(bytes),
        };
        self.protocol.request(call, &signing)
    }

    /// What a refusal means for the next attempt, and what is learnt from it.
    fn refused(&self, mut refusal: Refusal, answer: &Answer, credential: &Credential, host: String) -> Box<Failed> {
        let now = (self.clock)();
        refusal.retry_after = refusal.retry_after.max(answer_time::retry_after(&answer.headers, now));
        refusal.message = without_secrets(refusal.message, credential);
        let asked = refusal.retry_after;
        let class = refusal.class;
        if class == RefusalClass::Credential {
            self.credentials.rejected(credential);
        }
        let mut cause = Some(Cause::Refused(class));
        let problem = match (class, answer_time::date(&answer.headers)) {
            (RefusalClass::ClockSkew, Some(date)) => {
                let behind = self.offset.learn(&host, date, now);
                if clock_offset::is_worth_telling(behind) {
                    CallProblem::ClockSkew { host, behind, refusal }
                } else {
                    CallProblem::Refused(refusal)
                }
            }
            (RefusalClass::ClockSkew, None) => {
                // The same time again would be refused again.
                cause = None;
                CallProblem::Refused(refusal)
            }
            _ => CallProblem::Refused(refusal),
        };
        Box::new(Failed { problem, cause, asked })
    }
}

impl<P: Protocol> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("protocol", &self.protocol)
            .field("credentials", &self.credentials)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// An attempt that did not succeed.
struct Failed {
    problem: CallProblem,
    /// Its row in the retry table; `None` ends the call.
    cause: Option<Cause>,
    /// How long the service asked to wait.
    asked: Option<Duration>,
}

impl Failed {
    fn stop(problem: CallProblem) -> Box<Self> {
        Box::new(Self {
            problem,
            cause: None,
            asked: None,
        })
    }
}

fn no_answer(error: ExchangeError, host: String) -> Box<Failed> {
    let (problem, cause) = match error {
        ExchangeError::Request(source) => return Failed::stop(CallProblem::Request(source)),
        ExchangeError::NotSent(source) => (CallProblem::NotSent { host, source }, Cause::NotSent),
        ExchangeError::NoAnswer(source) => (CallProblem::NoAnswer { host, source }, Cause::NoAnswer),
        ExchangeError::TooLong => {
            let refusal = Refusal {
                class: RefusalClass::Undecodable,
                code: "AnswerTooLong".to_owned(),
                message: error.to_string(),
                request_id: None,
                retry_after: None,
            };
            (CallProblem::Refused(refusal), Cause::Refused(RefusalClass::Undecodable))
        }
    };
    Box::new(Failed {
        problem,
        cause: Some(cause),
        asked: None,
    })
}

/// A vendor's message without the credential: some services answer a wrong signature with the text they expected.
fn without_secrets(message: String, credential: &Credential) -> String {
    let token = credential.token.as_ref().map(|token| token.expose().as_str());
    [Some(credential.secret.expose().as_str()), token]
        .into_iter()
        .flatten()
        .filter(|secret| !secret.is_empty())
        .fold(message, |message, secret| message.replace(secret, "…"))
}
