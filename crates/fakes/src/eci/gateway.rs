//! The gateway: checks a call, lets it through to its service, and counts.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::fault::{self, throttled};
use super::params::Params;
use super::verify::Verifier;
use super::vpc::Addresses;
use super::{images, sts, vpc, wire};
use crate::cloud::{Fault, Rate, Received, Refusal, Reply};

/// The fields of a successful answer, without its request id.
pub(crate) type Fields = Map<String, Value>;

const ECI: &str = "2018-08-08";
const VPC: &str = "2016-04-28";
const STS: &str = "2015-04-01";

/// An account of this vendor.
pub(crate) type State = crate::cloud::State<Eci>;

/// What only this vendor has, and what its tests have set.
#[derive(Default)]
pub struct Eci {
    pub(crate) verifier: Verifier,
    pub(crate) addresses: Addresses,
    pub(crate) unknown_delete_refused: bool,
    pub(crate) rate: Option<Rate>,
    pub(crate) action_rates: HashMap<String, Rate>,
    pub(crate) retry_after_ms: Option<u64>,
    /// The metadata service answers only with a session token.
    pub(crate) token_required: bool,
    /// Session tokens of the metadata service, and when they end.
    pub(crate) metadata_tokens: Vec<(String, Timestamp)>,
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
        if let Some(Remembered { given, answer }) = self.own.tokens.get(&key) {
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
        self.own.tokens.insert(key, remembered);
        Ok(answer)
    }

    pub(crate) fn answer(&mut self, request: &Received) -> Reply {
        let now = self.tick();
        let request_id = self.mint.uuid().to_uppercase();
        let host = request.header("host").unwrap_or_default().to_owned();
        let action = wire::action(request).unwrap_or_default();
        self.count_call(&action);
        let names = |name: &str| wire::query_value(request, name).is_some();
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
            self.count_rejection(&refusal.code);
            wire::refusal(&refusal, &request_id, &host)
        })
    }

    fn call(&mut self, request: &Received, action: &str, now: Timestamp) -> Result<Outcome, Refusal> {
        let unsigned = action == "AssumeRoleWithOIDC";
        if !unsigned {
            self.own.verifier.verify(request, now, self.skew)?;
        }
        let version = wire::version(request).unwrap_or_default();
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
        let retry_after = self.own.retry_after_ms;
        let mut rates = self.own.rate.iter_mut().chain(self.own.action_rates.get_mut(action));
        if !rates.all(|rate| rate.admit(now)) {
            return Err(throttled(retry_after));
        }
        let fault = self.faults.take(action);
        if let Some(instead) = fault.as_ref().and_then(fault::before) {
            return instead.map(Outcome::Instead);
        }
        let mut params = Params::new(wire::parameters(request)?);
        params.forget_protocol();
        let fields = match version.as_str() {
            ECI => images::call(self, action, params, now)?,
            VPC => vpc::call(self, action, params, now)?,
            _ => sts::call(self, action, params)?,
        };
        Ok(Outcome::Done(fields, fault))
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
