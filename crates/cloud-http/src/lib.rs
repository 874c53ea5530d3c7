//! What the signed clouds share: build, fetch a credential, sign, send, classify; retries, rates, credentials, clock.
//!
//! A cloud brings a [`Protocol`]: how one call becomes a signed request, and what an answer means. [`Client`] does the rest.

mod call;
mod client;
mod credential;
mod credentials;

pub use call::{Answer, CallError, CallProblem, Effect, Protocol, Refusal, RefusalClass, Signing};
pub use client::{Client, ClientConfig};
pub use credential::{Credential, CredentialError, CredentialSource};
pub use credentials::Credentials;
