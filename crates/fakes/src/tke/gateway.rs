//! The gateway: checks a call, lets it through to its service, and counts.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::images;
use super::params::Params;
use super::shape::Shape;
use super::sts;
use super::verify::Verifier;
use crate::cloud::{Fault, Rate, Received, Refusal, Reply, Vendor as _, spoil};

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

/// An account of this vendor.
pub(crate) type State = crate::cloud::State<Tke>;

/// What only this vendor has, and what its tests have set.
pub struct Tke {
    pub(crate) verifier: Verifier,
    /// The code of the refusal above the quota.
    pub(crate) quota_code: String,
    /// Whether looking for a name also finds caches that only have it in their name.
    pub(crate) loose_names: bool,
    pub(crate) shape: Shape,
    /// Calls a second that each action may have.
    pub(crate) rate: Option<u32>,
    pub(crate) rates: HashMap<String, Rate>,
    answered: usize,
    throttled: usize,
}

impl Default for Tke {
    fn default() -> Self {
        let mut verifier = Verifier::default();
        verifier.require_signed_action(true);
        Self {
            verifier,
            quota_code: "LimitExceeded".to_owned(),
            loose_names: false,
            shape: Shape::default(),
            rate: Some(RATE),
            rates: HashMap::new(),
            answered: 0,
            throttled: 0,
        }
    }
}

impl State {
    pub(crate) fn answer(&mut self, request: &Received) -> Reply {
        let now = self.tick();
        let action = request.header("x-tc-action").unwrap_or_default().to_owned();
        self.count_call(&action);
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
            self.own.verifier.verify(request, service, now, self.skew)?;
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
        let Some(rate) = self.own.rate else { return true };
        let new = || Rate::new(rate, Duration::from_secs(1));
        self.own.rates.entry(action.to_owned()).or_insert_with(new).admit(now)
    }

    fn too_often(&mut self) -> Refusal {
        let code = THROTTLED
            .get(self.own.throttled % THROTTLED.len())
            .copied()
            .unwrap_or_default();
        self.own.throttled += 1;
        Refusal::new(
            200,
            code,
            "The number of requests in this second exceeds the frequency limit.",
        )
    }

    fn refusal(&mut self, refusal: &Refusal) -> Reply {
        self.count_rejection(&refusal.code);
        if refusal.status == 503 {
            return Reply::new(503, "text/html", "<html><body>503 Service Unavailable</body></html>");
        }
        let error = json!({"Code": refusal.code, "Message": refusal.message});
        self.envelope(refusal.status, Fields::from_iter([("Error".to_owned(), error)]))
    }

    fn envelope(&mut self, status: u16, mut fields: Fields) -> Reply {
        fields.insert("RequestId".to_owned(), Value::String(self.mint.uuid()));
        let body = json!({"Response": fields}).to_string();
        let content_type = CONTENT_TYPES.get(self.own.answered % CONTENT_TYPES.len()).copied();
        self.own.answered += 1;
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
        Some(region) if region != Tke::REGION => {
            let message = format!("The region {region} is not supported.");
            Err(Refusal::new(200, "UnsupportedRegion", message))
        }
        Some(_) => Ok(()),
    }
}
