//! The gateway: checks a call, lets it through to its service, and counts.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use wiremock::Request;

use super::caches::Caches;
use super::fault::{self, throttled};
use super::images::{self, Rules};
use super::params::Params;
use super::sts::Sts;
use super::verify::Verifier;
use super::vpc::Addresses;
use super::wire::{self, Received, Refusal};
use super::{metadata, sts, vpc};
use crate::cloud::{Answering, Fault, Faults, Mint, Rate, Reply};
use crate::registry::lock;

/// The fields of a successful answer, without its request id.
pub(crate) type Fields = Map<String, Value>;

const ECI: &str = "2018-08-08";
const VPC: &str = "2016-04-28";
const STS: &str = "2015-04-01";

/// All that the account has and all that the tests have set.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) region: String,
    /// Added to the wall clock: what the service believes.
    pub(crate) offset: SignedDuration,
    /// Added to that: what the gateway believes when it looks at dates.
    pub(crate) skew: SignedDuration,
    pub(crate) mint: Mint,
    pub(crate) verifier: Verifier,
    pub(crate) caches: Caches,
    pub(crate) rules: Rules,
    pub(crate) addresses: Addresses,
    pub(crate) sts: Sts,
    pub(crate) faults: Faults,
    pub(crate) rate: Option<Rate>,
    pub(crate) action_rates: HashMap<String, Rate>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) calls: HashMap<String, usize>,
    pub(crate) lookups: usize,
    pub(crate) rejected: HashMap<String, usize>,
    /// Secrets that clients sent in.
    pub(crate) received_secrets: std::collections::BTreeSet<String>,
    /// By action and client token.
    tokens: HashMap<(String, String), Remembered>,
}

/// The first call with a client token.
struct Remembered {
    given: Vec<(String, String)>,
    answer: Fields,
}

/// What became of a call.
enum Outcome {
    /// It was done, and a fault may spoil its answer.
    Done(Fields, Option<Fault>),
    /// A fault came before it.
    Instead(Reply),
}

impl State {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + self.offset
    }

    /// The time by which dates and keys are judged.
    pub(crate) fn gateway_now(&self) -> Timestamp {
        self.now() + self.skew
    }

    /// Lets time do its work; everything that looks at the account calls it first.
    pub(crate) fn tick(&mut self) -> Timestamp {
        let now = self.now();
        self.caches.tick(now, &mut self.mint);
        self.addresses.settle(&self.caches);
        now
    }

    /// Answers from the memory of a client token, or does the work and remembers its answer.
    pub(crate) fn once(
        &mut self,
        action: &str,
        mut params: Params,
        work: impl FnOnce(&mut Self, Params) -> Result<Fields, Refusal>,
    ) -> Result<Fields, Refusal> {
        let all = params.all();
        let Some(token) = params.client_token()? else {
            return work(self, params);
        };
        let key = (action.to_owned(), token);
        if let Some(Remembered { given, answer }) = self.tokens.get(&key) {
            if *given != all {
                let message = "The request uses the same client token as a previous, but non-identical request.";
                return Err(Refusal::new(400, "IdempotentParameterMismatch", message));
            }
            return Ok(answer.clone());
        }
        let answer = work(self, params)?;
        let remembered = Remembered {
            given: all,
            answer: answer.clone(),
        };
        self.tokens.insert(key, remembered);
        Ok(answer)
    }

    fn answer(&mut self, request: &Received) -> Reply {
        let now = self.tick();
        let request_id = self.mint.uuid().to_uppercase();
        let host = request.header("host").unwrap_or_default().to_owned();
        let action = request.action().unwrap_or_default().to_owned();
        *self.calls.entry(action.clone()).or_default() += 1;
        let names = |name: &str| request.query_value(name).is_some();
        if action == "DescribeImageCaches" && (names("ImageCacheName") || names("ImageCacheId")) {
            self.lookups += 1;
        }
        let result = self.call(request, &action, now).and_then(|outcome| match outcome {
            Outcome::Done(fields, fault) => {
                let reply = wire::success(fields, request_id.clone());
                fault.map_or_else(|| Ok(reply.clone()), |fault| fault::after(&fault, reply.clone()))
            }
            Outcome::Instead(reply) => Ok(reply),
        });
        result.unwrap_or_else(|refusal| {
            *self.rejected.entry(refusal.code.clone()).or_default() += 1;
            wire::refusal(&refusal, &request_id, &host)
        })
    }

    fn call(&mut self, request: &Received, action: &str, now: Timestamp) -> Result<Outcome, Refusal> {
        let unsigned = action == "AssumeRoleWithOIDC";
        if !unsigned {
            self.verifier.verify(request, now + self.skew)?;
        }
        let version = request.version().unwrap_or_default().to_owned();
        let known = match version.as_str() {
            ECI => images::ACTIONS,
            VPC => vpc::ACTIONS,
            STS => sts::ACTIONS,
            _ => {
                return Err(Refusal::new(
                    400,
                    "InvalidVersion",
                    "specified parameter Version is not valid",
                ));
            }
        };
        if !known.contains(&action) {
            let message = "Specified api is not found, please check your url and method.";
            return Err(Refusal::new(404, "InvalidAction.NotFound", message));
        }
        if !matches!(request.method.as_str(), "POST" | "GET") || request.path != "/" {
            return Err(Refusal::new(
                404,
                "InvalidAction.NotFound",
                "specified method or path is not valid",
            ));
        }
        let retry_after = self.retry_after_ms;
        let mut rates = self.rate.iter_mut().chain(self.action_rates.get_mut(action));
        if !rates.all(|rate| rate.admit(now)) {
            return Err(throttled(retry_after));
        }
        let fault = self.faults.take(action);
        if let Some(instead) = fault.as_ref().and_then(fault::before) {
            return instead.map(Outcome::Instead);
        }
        let mut params = Params::new(request.parameters()?);
        params.forget_protocol();
        let fields = match version.as_str() {
            ECI => images::call(self, action, params, now)?,
            VPC => vpc::call(self, action, params, now)?,
            _ => sts::call(self, action, params)?,
        };
        Ok(Outcome::Done(fields, fault))
    }
}

/// The state, behind the server.
#[derive(Default)]
pub(crate) struct Gateway {
    pub(crate) state: Mutex<State>,
}

impl Answering for Gateway {
    fn answer(&self, request: &Request) -> Reply {
        let headers = request.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        let received = Received::new(
            request.method.as_str(),
            request.url.path(),
            request.url.query().unwrap_or_default(),
            headers.collect(),
            request.body.clone(),
        );
        let mut state = lock(&self.state);
        let mut reply = if metadata::serves(&received.path) {
            metadata::answer(&mut state, &received)
        } else {
            state.answer(&received)
        };
        let date = state.gateway_now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        reply.headers.push(("date", date));
        reply
    }
}

/// A time as all these services print it.
pub(crate) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How long a temporary key is good for.
pub(crate) fn seconds(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}
