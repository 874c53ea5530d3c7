//! What the signed clouds share: build, fetch a credential, sign, send, classify; retries, rates, credentials, clock.
//!
//! A cloud brings a [`Protocol`]: how one call becomes a signed request, and what an answer means. [`Client`] does the rest.

mod answer_time;
mod api_error;
pub mod build;
mod call;
mod canonical;
pub mod checks;
mod client;
mod clock_offset;
mod config;
mod credential;
mod credentials;
mod endpoint;
mod exchange;
mod hash;
mod limiter;
pub mod mark;
mod meaning;
mod memory;
mod rate;
mod retry;
pub mod source;
pub mod text;

pub use api_error::{ApiError, Vendor, decode};
pub use call::{Answer, CallError, CallProblem, Effect, Protocol, Refusal, RefusalClass, Signing, sensitive_header};
pub use canonical::Unsigned;
pub use client::Client;
pub use config::ClientConfig;
pub use credential::{Credential, CredentialError, CredentialSource};
pub use credentials::Credentials;
pub use endpoint::{EndpointError, host_header, parse_endpoint};
pub use exchange::{ExchangeError, HttpClientError, Route, exchange, http_client, is_loopback};
pub use hash::{hmac_sha256, sha256_hex};
pub use limiter::RateLimiter;
pub use meaning::Meaning;
pub use memory::{Created, Memory};
pub use rate::{Rate, RateError};
pub use retry::{Cause, RULES, Repeat, Rule, Wait};
