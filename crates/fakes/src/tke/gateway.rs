//! The gateway: checks a call, lets it through to its service, and counts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use wiremock::Request;

use super::caches::Caches;
use super::images::{self, Rules};
use super::params::Params;
use super::sts::{self, Sts};
use super::verify::Verifier;
use super::{REGION, metadata};
use crate::cloud::{Answering, Delivery, Fault, Faults, Mint, Rate, Received, Refusal, Reply};
use crate::registry::lock;

/// The fields of a successful answer, without its request id.
pub(crate) type Fields = Map<String, Value>;

const TKE: &str = "2018-05-25";
const STS: &str = "2018-08-13";
/// Calls of one action in any second, unless set otherwise.
const RATE: u32 = 20;
/// The answers' types, in turn: a client that believes them gets it wrong sooner or later.
const CONTENT_TYPES: &[&str] = &[
    "application/json",
    "application/json; charset=utf-8",
    "text/plain; charset=utf-8",
    "application/octet-stream",
];
/// Ways to say that it was too often, in turn.
const THROTTLED: &[&str] = &[
    "RequestLimitExceeded",
    "RequestLimitExceeded.UinLimitExceeded",
    "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
    "RequestLimitExceeded.IPLimitExceeded",
];

/// All that the account has and all that the tests have set.
pub(crate) struct State {
    /// Added to the wall clock: what the service believes.
    pub(crate) offset: SignedDuration,
    /// Added to that: what the gateway believes when it looks at timestamps.
    pub(crate) skew: SignedDuration,
    pub(crate) mint: Mint,
    pub(crate) verifier: Verifier,
    pub(crate) caches: Caches,
    pub(crate) rules: Rules,
    pub(crate) sts: Sts,
    pub(crate) faults: Faults,
    /// Calls a second that each action may have.
    pub(crate) rate: Option<u32>,
    rates: HashMap<String, Rate>,
    pub(crate) calls: HashMap<String, usize>,
    pub(crate) rejected: HashMap<String, usize>,
    pub(crate) lookups: usize,
    /// Secrets that clients sent in.
    pub(crate) received_secrets: BTreeSet<String>,
    answered: usize,
    throttled: usize,
}

impl Default for State {
    fn default() -> Self {
        let mut verifier = Verifier::default();
        verifier.require_signed_action(true);
        Self {
            offset: SignedDuration::ZERO,
            skew: SignedDuration::ZERO,
            mint: Mint::default(),
            verifier,
            caches: Caches::default(),
            rules: Rules::default(),
            sts: Sts::default(),
            faults: Faults::default(),
            rate: Some(RATE),
            rates: HashMap::new(),
            calls: HashMap::new(),
            rejected: HashMap::new(),
            lookups: 0,
            received_secrets: BTreeSet::new(),
            answered: 0,
            throttled: 0,
        }
    }
}

impl State {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + self.offset
    }

    /// Lets time do its work; everything that looks at the account calls it first.
    pub(crate) fn tick(&mut self) -> Timestamp {
        let now = self.now();
        self.caches.tick(now, &mut self.mint);
        now
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u32>) {
        self.rate = rate;
        self.rates.clear();
    }

    fn answer(&mut self, request: &Received) -> Reply {
        let now = self.tick();
        let action = request.header("x-tc-action").unwrap_or_default().to_owned();
        *self.calls.entry(action.clone()).or_default() += 1;
        let mut fault = None;
        match self.call(request, &action, now, &mut fault) {
            Ok(_) if fault == Some(Fault::NoAnswerBefore) => Reply::never(),
            Ok(_) if fault == Some(Fault::ServerErrorAfter) => {
                self.refusal(&Refusal::new(500, "InternalError", "An internal error occurred."))
            }
            Ok(fields) => {
                let reply = self.envelope(200, fields);
                fault.map_or(reply.clone(), |fault| spoil(&fault, reply))
            }
            Err(refusal) => self.refusal(&refusal),
        }
    }

    /// Does what is asked for, or what the fault says instead.
    fn call(
        &mut self,
        request: &Received,
        action: &str,
        now: Timestamp,
        fault: &mut Option<Fault>,
    ) -> Result<Fields, Refusal> {
        let of_sts = sts::ACTIONS.contains(&action);
        let (service, version) = if of_sts { ("sts", STS) } else { ("tke", TKE) };
        if action == sts::UNSIGNED {
            sts::check_unsigned(request)?;
        } else {
            self.verifier.verify(request, service, now, self.skew)?;
        }
        check_target(request, action, version, of_sts)?;
        if !self.admits(action, now) {
            return Err(self.too_often());
        }
        *fault = self.faults.take(action);
        match fault {
            Some(Fault::ServerErrorBefore) => return Err(Refusal::new(503, "ServiceUnavailable", "")),
            Some(Fault::NoAnswerBefore) => return Ok(Fields::new()),
            Some(Fault::Throttled { .. }) => return Err(self.too_often()),
            Some(Fault::Refuse { status, code, message }) => return Err(Refusal::new(*status, &*code, &*message)),
            _ => {}
        }
        let params = Params::read(request)?;
        match of_sts {
            true => sts::call(self, action, params, now),
            false => images::call(self, action, params, now),
        }
    }

    /// Whether the action may be called once more in this second.
    fn admits(&mut self, action: &str, now: Timestamp) -> bool {
        let Some(rate) = self.rate else { return true };
        let new = || Rate::new(rate, Duration::from_secs(1));
        self.rates.entry(action.to_owned()).or_insert_with(new).admit(now)
    }

    fn too_often(&mut self) -> Refusal {
        let code = THROTTLED
            .get(self.throttled % THROTTLED.len())
            .copied()
            .unwrap_or_default();
        self.throttled += 1;
        Refusal::new(
            200,
            code,
            "The number of requests in this second exceeds the frequency limit.",
        )
    }

    fn refusal(&mut self, refusal: &Refusal) -> Reply {
        *self.rejected.entry(refusal.code.clone()).or_default() += 1;
        if refusal.status == 503 {
            return Reply::new(503, "text/html", "<html><body>503 Service Unavailable</body></html>");
        }
        let error = json!({"Code": refusal.code, "Message": refusal.message});
        self.envelope(refusal.status, Fields::from_iter([("Error".to_owned(), error)]))
    }

    fn envelope(&mut self, status: u16, mut fields: Fields) -> Reply {
        fields.insert("RequestId".to_owned(), Value::String(self.mint.uuid()));
        let body = json!({"Response": fields}).to_string();
        let content_type = CONTENT_TYPES.get(self.answered % CONTENT_TYPES.len()).copied();
        self.answered += 1;
        Reply::new(status, content_type.unwrap_or_default(), body)
    }
}

/// Whether there is such a thing here to be called so.
fn check_target(request: &Received, action: &str, version: &str, of_sts: bool) -> Result<(), Refusal> {
    if request.path != "/" || !matches!(request.method.as_str(), "POST" | "GET") {
        return Err(Refusal::new(
            200,
            "InvalidRequest",
            "the method or the path is not one of the API",
        ));
    }
    if !of_sts && !images::ACTIONS.contains(&action) {
        return Err(Refusal::new(
            200,
            "InvalidAction",
            format!("The action `{action}` does not exist."),
        ));
    }
    if request.header("x-tc-version") != Some(version) {
        return Err(Refusal::new(200, "NoSuchVersion", "the action has no such version"));
    }
    match request.header("x-tc-region") {
        None => {
            let message = "The request is missing a required parameter `Region`.";
            Err(Refusal::new(200, "MissingParameter", message))
        }
        Some(region) if region != REGION => {
            let message = format!("The region {region} is not supported.");
            Err(Refusal::new(200, "UnsupportedRegion", message))
        }
        Some(_) => Ok(()),
    }
}

/// What becomes of an answer after all was done.
pub(crate) fn spoil(fault: &Fault, mut reply: Reply) -> Reply {
    match fault {
        Fault::NoAnswer => reply.delivery = Delivery::Never,
        Fault::CutBody => reply.delivery = Delivery::Cut,
        Fault::WrongJson => reply.body = b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        _ => {}
    }
    reply
}

/// The state, behind the server.
#[derive(Default)]
pub(crate) struct Gateway {
    pub(crate) state: Mutex<State>,
}

impl Answering for Gateway {
    fn answer(&self, request: &Request) -> Reply {
        let received = Received::from_wiremock(request);
        let mut state = lock(&self.state);
        let mut reply = match metadata::serves(&received.path) {
            true => metadata::answer(&mut state, &received),
            false => state.answer(&received),
        };
        let date = (state.now() + state.skew).strftime("%a, %d %b %Y %H:%M:%S GMT");
        reply.headers.push(("date", date.to_string()));
        reply
    }
}
