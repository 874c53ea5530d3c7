//! What the signed clouds share: build, fetch a credential, sign, send, classify; retries, rates, credentials, clock.
//!
//! A cloud brings a [`Protocol`]: how one call becomes a signed request, and what an answer means. [`Client`] does the rest.

mod answer_time;
mod call;
mod client;
mod clock_offset;
mod config;
mod credential;
mod credentials;
pub mod duration_text;
mod exchange;
mod limiter;
mod rate;
mod retry;
pub mod source;

pub use call::{Answer, CallError, CallProblem, Effect, Protocol, Refusal, RefusalClass, Signing};
pub use client::Client;
pub use config::ClientConfig;
pub use credential::{Credential, CredentialError, CredentialSource};
pub use credentials::Credentials;
pub use exchange::{ExchangeError, HttpClientError, Route, exchange, http_client, is_loopback};
pub use limiter::RateLimiter;
pub use rate::{Rate, RateError};
pub use retry::{Cause, RULES, Repeat, Rule, Wait};
